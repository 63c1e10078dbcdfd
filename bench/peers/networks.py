"""The networks of the benchmark as PyTorch defines them, with the zoo's names of networks and parameters."""

from collections import OrderedDict

import torch
import torchvision
from torch import nn
from torch.nn import functional as F


def lenet5():
    """LeNet-5 with ReLU and maximum pooling: 61,706 parameters."""
    layers = [
        *(("conv1", nn.Conv2d(1, 6, 5)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2))),
        *(("conv2", nn.Conv2d(6, 16, 5)), ("relu2", nn.ReLU()), ("pool2", nn.MaxPool2d(2))),
        *(("conv3", nn.Conv2d(16, 120, 5)), ("relu3", nn.ReLU()), ("flatten", nn.Flatten())),
        *(("fc1", nn.Linear(120, 84)), ("relu4", nn.ReLU()), ("fc2", nn.Linear(84, 10))),
    ]
    return nn.Sequential(OrderedDict(layers))


class CifarBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut that skips pixels and appends channels of zeros (option A)."""

    def __init__(self, ic, oc, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(ic, oc, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(oc)
        self.conv2 = nn.Conv2d(oc, oc, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(oc)
        self.stride, self.zeros = stride, oc - ic

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.zeros:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.zeros))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2: three stages of so many blocks, of 16, 32 and 64 channels."""

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(CifarBlock(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(CifarBlock(16, 32, 2), *(CifarBlock(32, 32, 1) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(CifarBlock(32, 64, 2), *(CifarBlock(64, 64, 1) for _ in range(blocks - 1)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def googlenet(training):
    """With its two auxiliary heads in training, as the zoo trains it."""
    return torchvision.models.googlenet(weights=None, aux_logits=training, init_weights=False)


IMAGENET = (3, 224, 224)
# How the network is made (for training or not), the shape (C, H, W) of an image, the number of classes.
NETWORKS = {
    "lenet5": (lambda training: lenet5(), (1, 32, 32), 10),
    "resnet20-cifar": (lambda training: CifarResNet(3), (3, 32, 32), 10),
    "alexnet-owt": (lambda training: torchvision.models.alexnet(), IMAGENET, 1000),
    "vgg16": (lambda training: torchvision.models.vgg16(), IMAGENET, 1000),
    "googlenet-bn": (googlenet, IMAGENET, 1000),
    "resnet18": (lambda training: torchvision.models.resnet18(), IMAGENET, 1000),
    "resnet50-v1.5": (lambda training: torchvision.models.resnet50(), IMAGENET, 1000),
}


def build(name, training):
    """The network with PyTorch's random parameters, which are the same each time."""
    torch.manual_seed(0)
    network = NETWORKS[name][0](training)
    return network.train() if training else network.eval()


def image_shape(name):
    return NETWORKS[name][1]


def classes(name):
    return NETWORKS[name][2]
