"""Trains, measures and exports the small networks of filterscope on Tiny ImageNet.

Not part of the installed package. From the repository's root:

    python -m training.train --arch tiny-vgg16 --data DATA --out RUN
    python -m training.evaluate RUN --data DATA
    python -m training.export --checkpoint RUN --data DATA --out DEST

DATA is a folder with Tiny ImageNet, see `training.data` for the two layouts that are read.
"""
