//! The `config.json` that lies beside a model of [timm](https://huggingface.co/docs/timm): its architecture, its classes,
//! and how pictures are prepared.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// The longest file that is read, in bytes.
pub const MAX_CONFIG: u64 = 16 << 20;

/// What a `config.json` says; what it leaves out has timm's default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TimmConfig {
    /// What timm calls the network.
    pub architecture: String,
    /// The number of classes.
    #[serde(default)]
    pub num_classes: Option<usize>,
    /// The classes' names, in the order of the outputs.
    #[serde(default)]
    pub label_names: Option<Vec<String>>,
    /// What the names stand for, such as `goldfish` for `n01443537`.
    #[serde(default)]
    pub label_descriptions: Option<std::collections::BTreeMap<String, String>>,
    /// How pictures are prepared.
    #[serde(default)]
    pub pretrained_cfg: Pretrained,
}

/// How pictures are prepared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pretrained {
    /// Channels, height, width of the input.
    pub input_size: [usize; 3],
    /// Mean of each colour, on a scale from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each colour.
    pub std: [f32; 3],
    /// The filter that resizes: `bilinear`, `bicubic`, …
    pub interpolation: String,
    /// The input's side, as a part of the shorter side of the resized picture.
    pub crop_pct: f64,
    /// Which part of the picture is taken: `center`, `squash`, `border`.
    pub crop_mode: String,
    /// The classes' names, where they are not beside the architecture.
    pub label_names: Option<Vec<String>>,
}

impl Default for Pretrained {
    /// timm's defaults.
    fn default() -> Self {
        Self {
            input_size: [3, 224, 224],
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            interpolation: "bilinear".into(),
            crop_pct: 0.875,
            crop_mode: "center".into(),
            label_names: None,
        }
    }
}

/// Why a `config.json` is of no use.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct TimmError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TimmProblem,
}

/// What can be wrong with a `config.json`.
#[derive(Debug, Error)]
pub enum TimmProblem {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// Longer than any configuration.
    #[error("longer than {} MiB; timm's take a few kilobytes", MAX_CONFIG >> 20)]
    TooLong,
    /// Not what timm writes.
    #[error("not a configuration that timm writes: {0}")]
    Json(#[from] serde_json::Error),
    /// A part that is taken in a way that is not known here.
    #[error("crop_mode '{mode}'; only 'center' is known")]
    CropMode {
        /// The way.
        mode: String,
    },
    /// A part of the picture that is no part.
    #[error("crop_pct {part}; it must lie above 0 and at most at 1")]
    CropPart {
        /// The part.
        part: f64,
    },
}

/// Reads the configuration at `path`.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: impl AsRef<Path>) -> Result<TimmConfig, TimmError> {
    let path = path.as_ref();
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_CONFIG + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_CONFIG {
            return Err(TimmProblem::TooLong);
        }
        parse(&bytes)
    };
    read().map_err(|problem| TimmError { path: path.into(), problem })
}

/// Reads a configuration from the bytes of its file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<TimmConfig, TimmProblem> {
    let config: TimmConfig = serde_json::from_slice(bytes)?;
    let Pretrained { crop_mode, crop_pct, .. } = &config.pretrained_cfg;
    if crop_mode != "center" {
        return Err(TimmProblem::CropMode { mode: crop_mode.clone() });
    }
    if !(*crop_pct > 0.0 && *crop_pct <= 1.0) {
        return Err(TimmProblem::CropPart { part: *crop_pct });
    }
    Ok(config)
}

impl TimmConfig {
    /// Pixels of a picture's shorter side before its middle is cut out.
    pub fn short_side(&self) -> usize {
        let [_, height, width] = self.pretrained_cfg.input_size;
        (height.max(width) as f64 / self.pretrained_cfg.crop_pct).floor() as usize
    }

    /// The classes' names, described where they are.
    pub fn classes(&self) -> Option<Vec<String>> {
        let names = self.label_names.as_ref().or(self.pretrained_cfg.label_names.as_ref())?;
        let described = |name: &String| {
            let text = self.label_descriptions.as_ref().and_then(|texts| texts.get(name));
            text.unwrap_or(name).clone()
        };
        Some(names.iter().map(described).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_timm_writes() {
        let config = parse(
            br#"{"architecture": "resnet50", "num_classes": 2, "num_features": 2048, "global_pool": "avg",
                "label_names": ["n1", "n2"], "label_descriptions": {"n2": "a cat"},
                "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 224, 224], "test_input_size": [3, 288, 288],
                "fixed_input_size": false, "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center",
                "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "pool_size": [7, 7], "first_conv": "conv1"}}"#,
        )
        .unwrap();
        assert_eq!((config.architecture.as_str(), config.num_classes), ("resnet50", Some(2)));
        assert_eq!(config.short_side(), 235);
        assert_eq!(config.classes().unwrap(), ["n1", "a cat"]);
        assert_eq!(config.pretrained_cfg.interpolation, "bicubic");
        assert_eq!(config.pretrained_cfg.mean, [0.5, 0.4, 0.3]);
        let bare = parse(br#"{"architecture": "vgg16"}"#).unwrap();
        assert_eq!((bare.short_side(), bare.classes(), bare.num_classes), (256, None, None));
    }

    #[test]
    fn tells_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        for (text, what) in [
            ("{}", "missing field `architecture`"),
            ("[", "not a configuration that timm writes"),
            (r#"{"architecture": "x", "pretrained_cfg": {"mean": [1]}}"#, "invalid length 1"),
            (r#"{"architecture": "x", "pretrained_cfg": {"crop_mode": "squash"}}"#, "crop_mode 'squash'"),
            (r#"{"architecture": "x", "pretrained_cfg": {"crop_pct": 0}}"#, "crop_pct 0;"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("config.json: ") && error.contains(what), "{what}: {error}");
        }
        assert!(matches!(read(dir.path().join("no")).unwrap_err().problem, TimmProblem::Read(_)));
    }
}
