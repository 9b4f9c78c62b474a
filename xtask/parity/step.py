"""Milliseconds of a training step and of ranking on random data, one JSON line for each encoder,
method, item count and mode.

`eager` is PyTorch's default, `compiled` is torch.compile, `best` the fastest settings beyond that,
`bf16` adds an output layer in bfloat16. step_cpu.py and step_gpu.py document the settings and the
figures on either device.
"""

import argparse

import step_cpu
import step_gpu
from encoders import ENCODERS
from methods import METHODS

MODES = ("eager", "compiled", "best", "bf16")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["gru"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["normal"])
    parser.add_argument("--items", nargs="+", type=int, default=[26702, 70852])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=10, help="steps before the timed ones")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--ask", action="store_true", help="on a GPU: time each case that a line of the input names")
    parser.add_argument("--warm-only", action="store_true", help="on a GPU: fill the compiler's cache, print nothing")
    args = parser.parse_args()
    if args.device == "cpu" and (args.ask or args.warm_only):
        parser.error("--ask and --warm-only are for a GPU")
    return args


if __name__ == "__main__":
    given = arguments()
    (step_cpu if given.device == "cpu" else step_gpu).run(given)
