"""engine/device.py: memory that is kept between steps. (Devices and precisions: test_prepare.py.)"""

from filterscope.ascent.engine import device
from filterscope.ascent.engine.device import FreedMemory, keep_freed_memory


def test_memory_is_kept_once():
    """Asked again the answer is the same, and nothing is set anew."""
    assert keep_freed_memory() is keep_freed_memory()


def test_freed_memory_goes_back_where_it_grows(monkeypatch):
    """Handed back once it is a tenth more than after the first batch, and left alone before that."""
    pages, trimmed = iter([1000, 1050, 1200, 900]), []

    class Glibc:
        def malloc_trim(self, pad):
            trimmed.append(pad)
            return 1

    monkeypatch.setattr(device, "_resident", lambda: next(pages))
    monkeypatch.setattr(device, "_glibc", Glibc)
    freed = FreedMemory()
    assert [freed.hand_back() for _ in range(4)] == [False, False, True, False]
    assert trimmed == [0]
    monkeypatch.setattr(device, "_glibc", lambda: None)
    monkeypatch.setattr(device, "_resident", lambda: 5000)
    assert not freed.hand_back()
