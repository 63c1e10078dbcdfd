//! The map tells the truth: paths exist, dependencies are those of the table, unsafe code is where it may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref())
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn crates() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("crates")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_path_of_the_map_exists() {
    let map = read(root().join("ARCHITECTURE.md"));
    let mut crate_folder = None;
    let mut checked = 0;
    for line in map.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            crate_folder = quoted(title).next().map(|path| root().join(path));
        } else if line.starts_with("## ") {
            crate_folder = None;
        }
        for path in quoted(line).filter(|text| text.contains('/') && !text.contains(' ')) {
            let places = [Some(root()), crate_folder.clone()];
            let found = places.iter().flatten().any(|folder| folder.join(path).exists());
            // Paths outside a crate's section may be relative to a crate named in the same line.
            let elsewhere = crates().iter().any(|name| root().join("crates").join(name).join(path).exists());
            let inner =
                crates().iter().any(|name| root().join("crates").join(name).join("src").join(path).exists());
            assert!(
                found || crate_folder.is_none() && (elsewhere || inner),
                "ARCHITECTURE.md names `{path}`, which is not there"
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} paths found: has the map's form changed?");
    for name in crates() {
        assert!(map.contains(&format!("### `crates/{name}`")), "ARCHITECTURE.md has no section on {name}");
    }
}

#[test]
fn dependencies_are_those_of_the_table() {
    let map = read(root().join("ARCHITECTURE.md"));
    let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in map
        .lines()
        .skip_while(|line| *line != "## Dependencies")
        .skip(1)
        .take_while(|l| !l.starts_with("## "))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, list] = cells[..]
            && name.starts_with("striate")
        {
            let names = if list == "all of the above" {
                allowed.keys().cloned().collect()
            } else {
                list.split(", ").filter(|n| n.starts_with("striate")).map(String::from).collect()
            };
            allowed.insert(name.to_string(), names);
        }
    }
    for name in crates() {
        let manifest = read(root().join("crates").join(&name).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap();
        for line in dependencies.lines().filter(|line| line.starts_with("striate")) {
            let dependency = line.split([' ', '=', '.']).next().unwrap();
            let allowed =
                allowed.get(&name).unwrap_or_else(|| panic!("{name} is not in ARCHITECTURE.md's table"));
            assert!(
                allowed.iter().any(|a| a == dependency),
                "{name} depends on {dependency}, against ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    for name in
        crates().into_iter().filter(|name| !["striate-kernels", "striate-engine"].contains(&name.as_str()))
    {
        let src = root().join("crates").join(&name).join("src");
        let face = [src.join("lib.rs"), src.join("main.rs")].into_iter().find(|path| path.exists()).unwrap();
        assert!(read(&face).contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
    }
    let engine = root().join("crates/striate-engine/src");
    let mut folders = vec![engine.clone()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let place = path.strip_prefix(&engine).unwrap().to_str().unwrap().to_string();
            let allowed = ["arena.rs", "buffer.rs", "session.rs", "lower/mod.rs"].contains(&place.as_str());
            assert!(
                allowed || !read(&path).contains("unsafe {"),
                "unsafe code in striate-engine/src/{place}"
            );
        }
    }
}

#[test]
fn every_operation_is_handled_by_engine_and_map() {
    let lowering = read(root().join("crates/striate-engine/src/lower/mod.rs"));
    let oracle = read(root().join("crates/striate-engine/src/reference.rs"));
    for name in striate_graph::ops::Op::NAMES {
        assert!(lowering.contains(&format!("Op::{name}(")), "the engine does not lower {name}");
        let derived =
            name.ends_with("Backward") || name.contains("BackwardData") || name.contains("BackwardWeights");
        let is_update = name.ends_with("Update");
        assert!(
            derived || is_update || oracle.contains(&format!("Op::{name}(")),
            "the engine's reference does not interpret {name}"
        );
    }
}
