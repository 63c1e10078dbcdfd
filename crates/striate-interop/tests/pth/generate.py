#!/usr/bin/env python3
"""Writes the files of PyTorch's that the tests of src/pth.rs read: every element type, views, checkpoints, refusals.

    pip install torch numpy
    python generate.py
"""

import os
import pathlib
from collections import OrderedDict

import torch
from torch import nn

FOLDER = pathlib.Path(__file__).parent


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def tensors():
    matrix = torch.arange(6.0).reshape(2, 3)
    state = OrderedDict(
        weight=matrix,
        tied=matrix,
        transposed=matrix.T,
        column=matrix[:, 1],
        expanded=torch.tensor(7.0).expand(2, 2),
        scalar=torch.tensor(-3.0),
        empty=torch.empty(0, 4),
    )
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        state[str(dtype).removeprefix("torch.")] = torch.tensor([0.5, -1.25], dtype=dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        state[str(dtype).removeprefix("torch.")] = torch.tensor([-1, 2], dtype=dtype)
    state["uint8"] = torch.tensor([255, 2], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False])
    state["parameter"] = nn.Parameter(torch.tensor([9.0]))
    state._metadata = OrderedDict([("", {"version": 1})])
    return state


def main():
    state = tensors()
    save = lambda what, name, **options: torch.save(what, FOLDER / name, **options)
    save(state, "state_dict.pth")
    save(state, "protocol4.pth", pickle_protocol=4)
    optimiser = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    save({"epoch": 3, "optimizer": optimiser, "state_dict": state, "best": 0.5, "ema": {"w": torch.zeros(1)}}, "checkpoint.pth")
    one = {"weight": torch.ones(2)}
    save(one, "legacy.pth", _use_new_zipfile_serialization=False)
    save(nn.Linear(1, 1), "module.pth")
    save({"weight": torch.ones(2), "extra": Evil()}, "evil.pth")
    save([torch.ones(2)], "list.pth")
    save({"ema": one, "student": {"weight": torch.zeros(2)}}, "several.pth")


if __name__ == "__main__":
    main()
