"""tf-keras-vis at its own settings (its penalties, jitter, rotation, RMSprop), four filters at a time; run by speed.py in
its own interpreter, with a plan (speed_plan).
"""

import numpy as np
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.activation_maximization.callbacks import Callback
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from speed_plan import Clock, read, say
from speed_tensorflow import network


class Tick(Callback):
    def __init__(self, clock):
        self.clock = clock

    def __call__(self, *args, **kwargs):
        self.clock.tick()


def main():
    plan = read()
    units, size = plan["units"][:4], plan["size"]
    clock = Clock(plan)
    maximization = ActivationMaximization(network(plan), ReplaceToLinear(), clone=False)
    seeds = np.random.default_rng(0).uniform(0, 255, (len(units), size, size, 3))
    clock.begin()
    maximization(
        CategoricalScore(units), seed_input=seeds, steps=plan["steps"] + plan["warm"], callbacks=[Tick(clock)]
    )
    clock.end(len(units))
    say(seconds=clock.spans)


if __name__ == "__main__":
    main()
