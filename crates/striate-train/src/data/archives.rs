//! Where data sets are published.

/// A file to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub url: &'static str,
    /// What `md5sum` says of it.
    pub md5: &'static str,
}

const fn at(url: &'static str, md5: &'static str) -> Archive {
    Archive { url, md5 }
}

macro_rules! fashion {
    ($file:literal) => {
        concat!("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", $file, "-ubyte.gz")
    };
}

const FASHION_MNIST: [Archive; 4] = [
    at(fashion!("train-images-idx3"), "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    at(fashion!("train-labels-idx1"), "25c81989df183df01b3e8a0aad5dffbe"),
    at(fashion!("t10k-images-idx3"), "bef4ecab320f06d8554ea6380940ec79"),
    at(fashion!("t10k-labels-idx1"), "bb300cfdad3c16e7a12a480ee83cd310"),
];
const CIFAR10: [Archive; 1] =
    [at("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")];
const CIFAR100: [Archive; 1] =
    [at("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")];

/// The files of the data set `name`, as its authors publish them; none where it is not known.
pub fn of(name: &str) -> &'static [Archive] {
    match name {
        "fashion-mnist" => &FASHION_MNIST,
        "cifar10" => &CIFAR10,
        "cifar100" => &CIFAR100,
        _ => &[],
    }
}
