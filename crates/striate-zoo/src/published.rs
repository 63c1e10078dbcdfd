//! Weights that others publish: which network of the zoo they are for, what they call its parameters, and how they want
//! pictures prepared. A row a network.
//!
//! The zoo carries torchvision's names, so those need no translation. timm's ResNets have the same; its VGGs write the
//! first fully connected layers as convolutions over the last map and call them otherwise.

/// Where weights come from and what they are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// Who publishes them: `torchvision` or `timm`.
    pub source: &'static str,
    /// What the publisher calls the network.
    pub name: &'static str,
    /// The network of the zoo.
    pub network: &'static str,
    /// The layer that scores the classes, by the publisher's name.
    pub head: &'static str,
    /// Pixels of a picture's shorter side before its middle, as large as the input, is cut out.
    pub short_side: usize,
    /// Mean of each colour, on a scale from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each colour.
    pub std: [f32; 3],
    /// Begins of names: the publisher's and the zoo's.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Begins of the publisher's names for what exists in training only.
    pub unused: &'static [&'static str],
}

/// torchvision's first weights (`IMAGENET1K_V1`): shorter side 256, ImageNet's colours.
const TORCHVISION: Published = Published {
    source: "torchvision",
    name: "resnet18",
    network: "resnet18",
    head: "fc",
    short_side: 256,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    renamed: &[],
    unused: &[],
};

const fn resnet(name: &'static str, network: &'static str) -> Published {
    Published { name, network, ..TORCHVISION }
}

/// `IMAGENET1K_V2`, of the longer training of 2021.
const fn resnet_v2(name: &'static str, network: &'static str) -> Published {
    Published { name, network, short_side: 232, ..TORCHVISION }
}

const fn classifier(name: &'static str, network: &'static str) -> Published {
    Published { name, network, head: "classifier.6", ..TORCHVISION }
}

/// Its weights were converted from TensorFlow's, which scale colours to −1 … 1.
const GOOGLENET: Published = Published {
    name: "googlenet",
    network: "googlenet-bn",
    mean: [0.5; 3],
    std: [0.5; 3],
    unused: &["aux1.", "aux2."],
    ..TORCHVISION
};

const fn timm_resnet(name: &'static str, network: &'static str) -> Published {
    Published { source: "timm", name, network, ..TORCHVISION }
}

const fn timm_vgg(name: &'static str, network: &'static str) -> Published {
    Published {
        source: "timm",
        name,
        network,
        head: "head.fc",
        renamed: &[
            ("pre_logits.fc1.", "classifier.0."),
            ("pre_logits.fc2.", "classifier.3."),
            ("head.fc.", "classifier.6."),
        ],
        ..TORCHVISION
    }
}

static ROWS: [Published; 31] = [
    classifier("alexnet", "alexnet-owt"),
    classifier("vgg11", "vgg11"),
    classifier("vgg11_bn", "vgg11-bn"),
    classifier("vgg13", "vgg13"),
    classifier("vgg13_bn", "vgg13-bn"),
    classifier("vgg16", "vgg16"),
    classifier("vgg16_bn", "vgg16-bn"),
    classifier("vgg19", "vgg19"),
    classifier("vgg19_bn", "vgg19-bn"),
    GOOGLENET,
    resnet("resnet18", "resnet18"),
    resnet("resnet34", "resnet34"),
    resnet("resnet50", "resnet50-v1.5"),
    resnet_v2("resnet50_v2", "resnet50-v1.5"),
    resnet("resnet101", "resnet101-v1.5"),
    resnet_v2("resnet101_v2", "resnet101-v1.5"),
    resnet("resnet152", "resnet152-v1.5"),
    resnet_v2("resnet152_v2", "resnet152-v1.5"),
    timm_resnet("resnet18", "resnet18"),
    timm_resnet("resnet34", "resnet34"),
    timm_resnet("resnet50", "resnet50-v1.5"),
    timm_resnet("resnet101", "resnet101-v1.5"),
    timm_resnet("resnet152", "resnet152-v1.5"),
    timm_vgg("vgg11", "vgg11"),
    timm_vgg("vgg11_bn", "vgg11-bn"),
    timm_vgg("vgg13", "vgg13"),
    timm_vgg("vgg13_bn", "vgg13-bn"),
    timm_vgg("vgg16", "vgg16"),
    timm_vgg("vgg16_bn", "vgg16-bn"),
    timm_vgg("vgg19", "vgg19"),
    timm_vgg("vgg19_bn", "vgg19-bn"),
];

/// All rows.
pub fn published() -> impl Iterator<Item = &'static Published> {
    ROWS.iter()
}

impl Published {
    /// The row of a publisher's network. A tag behind a point names one of several weights of a network
    /// (`resnet50.a1_in1k`) and is left out; `-` and `_` are the same.
    pub fn find(source: &str, name: &str) -> Option<&'static Published> {
        let name = name.split('.').next().unwrap_or(name).to_lowercase().replace('-', "_");
        published().find(|row| row.source == source && row.name == name)
    }

    /// The zoo's name for one of the publisher's tensors; none for what exists in training only.
    pub fn ours(&self, theirs: &str) -> Option<String> {
        if self.unused.iter().any(|begin| theirs.starts_with(begin)) {
            return None;
        }
        let renamed =
            self.renamed.iter().find_map(|(from, to)| Some(format!("{to}{}", theirs.strip_prefix(from)?)));
        Some(renamed.unwrap_or_else(|| theirs.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use striate_graph::ops::Op;

    #[test]
    fn rows_name_networks_and_their_heads() {
        for row in published() {
            let graph = crate::build(row.network).unwrap();
            assert_eq!(Published::find(row.source, row.name), Some(row));
            let head = row.ours(&format!("{}.weight", row.head)).unwrap();
            let (_, weights, _) = graph.parameters().find(|(node, ..)| node.name == head).unwrap();
            assert_eq!(weights.dims[0], 1000, "{} {}", row.source, row.name);
            let scores = graph.logits().map(|value| &graph.node(graph.producer(value)).op);
            assert!(matches!(scores, Some(Op::Linear(_))), "{}", row.name);
        }
    }

    #[test]
    fn names_are_found_as_people_write_them() {
        let found = |source, name| Published::find(source, name).map(|row| row.network);
        assert_eq!(found("torchvision", "vgg16-bn"), Some("vgg16-bn"));
        assert_eq!(found("torchvision", "ResNet50"), Some("resnet50-v1.5"));
        assert_eq!(found("timm", "resnet50.a1_in1k"), Some("resnet50-v1.5"));
        assert_eq!((found("timm", "alexnet"), found("caffe", "vgg16")), (None, None));
    }

    #[test]
    fn names_are_translated() {
        let vgg = Published::find("timm", "vgg16").unwrap();
        assert_eq!(vgg.ours("pre_logits.fc2.bias").unwrap(), "classifier.3.bias");
        assert_eq!(vgg.ours("features.0.weight").unwrap(), "features.0.weight");
        let googlenet = Published::find("torchvision", "googlenet").unwrap();
        assert_eq!(googlenet.ours("aux1.conv.conv.weight"), None);
        assert_eq!(googlenet.ours("inception3a.branch1.bn.bias").unwrap(), "inception3a.branch1.bn.bias");
    }
}
