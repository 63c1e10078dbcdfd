"""Measures PyTorch: python -m peers.torch_peer JOB

A mode is one of eager, channels_last, compiled, compiled-channels_last.
"""

import contextlib

import torch

from . import networks
from .measuring import serve


def prepare(job):
    torch.set_num_threads(job.threads)
    return {"infer": inference, "train": training}[job.task](job)


def arranged(job, network, images):
    """Network and images in the mode's memory format, the network compiled where the mode says so."""
    if job.mode.endswith("channels_last"):
        network, images = (item.to(memory_format=torch.channels_last) for item in (network, images))
    return torch.compile(network) if job.mode.startswith("compiled") else network, images


def inference(job):
    from safetensors.torch import load_file

    torch.set_grad_enabled(False)
    torch._inductor.config.freezing = True  # parameters become constants that the compiler may pack
    network = networks.build(job.network, training=False)
    network.load_state_dict(load_file(job.file("weights.safetensors")), strict=False)
    images = torch.from_numpy(job.images())
    if job.precision == "bf16":
        network, images = network.bfloat16(), images.bfloat16()
    network, images = arranged(job, network, images)

    def step():
        with torch.inference_mode():
            return network(images)

    return step, step().float()


def training(job):
    """Forward, loss, gradients, update, on one batch that stays the same."""
    network = networks.build(job.network, training=True)
    parameters = list(network.parameters())
    images = torch.randn(job.batch, *networks.image_shape(job.network))
    labels = torch.randint(networks.classes(job.network), (job.batch,))
    network, images = arranged(job, network, images)
    optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)

    def loss():
        scores, *auxiliary = outputs(network(images))
        cross_entropy = torch.nn.functional.cross_entropy
        return cross_entropy(scores, labels) + sum(0.3 * cross_entropy(head, labels) for head in auxiliary)

    def mixed():
        return torch.autocast("cpu", torch.bfloat16) if job.precision == "bf16" else contextlib.nullcontext()

    def step():
        optimiser.zero_grad(set_to_none=True)
        with mixed():
            value = loss()
        value.backward()
        optimiser.step()

    step()
    return step, None


def outputs(scores):
    """The scores of the network and of its auxiliary heads, where it has any."""
    return scores if isinstance(scores, tuple) else (scores,)


if __name__ == "__main__":
    serve(prepare)
