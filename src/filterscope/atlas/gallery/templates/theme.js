// Light, dark, or as the system says; kept in this browser where it lets a page keep anything.
"use strict";
window.filterscope = window.filterscope || {};
(function () {
  const root = document.documentElement;
  const order = ["auto", "light", "dark"];
  const said = { auto: "as the system", light: "light", dark: "dark" };
  const signs = { auto: "◐", light: "☀", dark: "☾" };

  function stored() {
    try { return localStorage.getItem("filterscope-theme"); } catch { return null; }
  }

  function show(theme) {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    const button = document.getElementById("theme");
    if (!button) return;
    button.setAttribute("aria-label", "Colours: " + said[theme]);
    button.title = "Colours: " + said[theme];
    button.firstElementChild.textContent = signs[theme];
  }

  let theme = order.includes(stored()) ? stored() : "auto";
  show(theme); // before the page is painted
  document.addEventListener("DOMContentLoaded", function () {
    show(theme);
    document.getElementById("theme").addEventListener("click", function () {
      theme = order[(order.indexOf(theme) + 1) % order.length];
      try { localStorage.setItem("filterscope-theme", theme); } catch { /* kept for this page alone */ }
      show(theme);
    });
  });
})();
