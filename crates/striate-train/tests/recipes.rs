//! Recipes: each that is built in is read and fits its network; what is wrong with one is told.

use striate_train::recipe::{self, Recipe, RecipeError};
use striate_train::trainer::TrainConfig;

#[test]
fn every_recipe_that_is_built_in_makes_a_configuration() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), recipe::names().count(), "each file is a recipe");
    for name in recipe::names() {
        let recipe = Recipe::open(name).unwrap();
        assert!(
            recipe.network.is_some() && (recipe.epochs.is_some() ^ recipe.iterations.is_some()),
            "{name}"
        );
        let mut config = TrainConfig::new(&any_network(), "mnist").unwrap();
        recipe.apply(&mut config).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_ne!(config.augment.to_string(), "none", "{name}");
        config.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((Some(config.batch), Some(config.lr)), (recipe.batch, recipe.lr), "{name}");
        assert!(
            recipe::text(name).unwrap().contains("et al.") || name != "googlenet",
            "{name} names its source"
        );
    }
}

/// Any network: a recipe's own is the zoo's affair.
fn any_network() -> striate_graph::Graph {
    let mut net = striate_graph::Builder::new("any");
    let x = net.input("image", [1, 28, 28]);
    let x = net.linear("fc", x, striate_graph::ops::Linear::new(10));
    net.output(x);
    net.finish().unwrap()
}

#[test]
fn the_residual_networks_of_cifar_are_trained_as_in_their_paper() {
    let mut config = TrainConfig::new(&any_network(), "mnist").unwrap();
    Recipe::open("resnet-cifar").unwrap().apply(&mut config).unwrap();
    assert_eq!((config.iterations, config.batch, config.lr), (Some(64_000), 128, 0.1));
    assert_eq!((config.momentum, config.weight_decay), (0.9, 1e-4));
    assert_eq!(config.schedule.to_string(), "multistep:32000it,48000it,factor=0.1");
    assert_eq!(config.augment.to_string(), "crop=4,flip");
}

#[test]
fn what_is_given_comes_before_what_a_recipe_says() {
    let file = Recipe::read("epochs = 3\nlr = 0.5\nweight-decay = 0.1\nfreeze = 'conv1'", "file").unwrap();
    let given = Recipe { lr: Some(0.25), iterations: Some(10), ..Recipe::default() };
    let both = given.or(file);
    let expected = Recipe {
        lr: Some(0.25),
        iterations: Some(10),
        weight_decay: Some(0.1),
        freeze: vec!["conv1".into()],
        ..Recipe::default()
    };
    assert_eq!(both, expected, "either says how long the run is");
    let mut config = TrainConfig::new(&any_network(), "mnist").unwrap();
    Recipe::read("optimizer = 'adam'", "file").unwrap().apply(&mut config).unwrap();
    assert_eq!(config.lr, 1e-3, "the rate follows the optimizer");
}

#[test]
fn what_is_wrong_is_told_with_what_would_be_right() {
    let error = |text: &str| Recipe::read(text, "mine.toml").unwrap_err().to_string();
    for (text, parts) in [
        ("momentun = 0.9", &["mine.toml", "no setting 'momentun'", "did you mean momentum?"][..]),
        ("zzz = 1", &["no setting 'zzz'", "there are network, data, epochs"]),
        ("batch = 'many'", &["batch = \"many\"", "invalid digit"]),
        ("schedule = 'stepp:30'", &["schedule", "did you mean step?"]),
        ("optimizer = 'adam:beta3=1'", &["it takes beta1, beta2, eps"]),
        ("lr = [1, 2]", &["lr = [1, 2]", "a text, a number"]),
        ("lr = ", &["mine.toml", "line 1"]),
    ] {
        let error = error(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}:\n{error}");
    }
    let unknown = Recipe::open("resnet-cifra").unwrap_err();
    assert!(matches!(unknown, RecipeError::Unknown { near: Some("resnet-cifar"), .. }));
    assert!(
        unknown.to_string().contains("there are lenet5, alexnet, vgg16, googlenet, resnet50, resnet-cifar")
    );
    assert!(matches!(Recipe::open("/no/where.toml"), Err(RecipeError::File { .. })));
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let error = Recipe::open(large.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("at most 1048576"), "{error}");
}
