"""The command `jaxhar predict --data NAME`: pose in a whole data set, or pictures of some of its examples."""

import argparse

from jaxhar.data import sets
from jaxhar.host.settings import setting
from jaxhar.predict import data_set, predictor
from jaxhar.predict.pictures import Pictures


def main(args: argparse.Namespace) -> int:
    """Run it with the arguments of `jaxhar predict`; Usage for an unknown data set."""
    sets.get(args.data)
    written = data_set.run(
        args.data,
        args.source[0],
        predictor.located(args.weights),
        args.out,
        split=args.split,
        view=args.view,
        cache=args.cache,
        batch=args.batch,
        skip_broken=args.skip_broken,
        changes=dict(setting(text) for text in args.set),
        drawn=_drawn(args),
        progress=not args.no_progress,
    )
    print(f"written: {', '.join(str(path) for path in written)}")
    return 0


def _drawn(args: argparse.Namespace) -> Pictures | None:
    if args.pictures is None:
        return None
    return Pictures(args.pictures, args.seed, args.show_truth, args.threshold, skeleton=not args.no_skeleton)
