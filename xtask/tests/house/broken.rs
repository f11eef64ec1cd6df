//! Each rule on a small example that breaks it, and on one that keeps it: a rule that cannot fail protects nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use cargo_metadata::DependencyKind;
use cargo_metadata::semver::Version;

use super::rules::{self, Arrows};
use super::workspace::{Dependency, Front, Graph, Manifest, Package, PluginFront, Source};

const PAGE: &str = "\
# A page
```arrows
keros-image → –
keros-data  → keros-image
keros       → all
```
```arrows in tests
keros-image → keros
```
";

/// A graph from lines `name` or `name → dependency, dependency (dev), …`; the packages named `keros…` are the members.
fn graph(lines: &[&str]) -> Graph {
    let mut packages = BTreeMap::new();
    for line in lines {
        let (name, dependencies) = line.split_once(" → ").unwrap_or((line, ""));
        let dependencies = dependencies.split(", ").filter(|word| !word.is_empty());
        let dependencies = dependencies.map(|word| {
            let (id, kind) = match word.split_once(' ') {
                Some((id, "(dev)")) => (id, DependencyKind::Development),
                Some((id, _)) => (id, DependencyKind::Build),
                None => (word, DependencyKind::Normal),
            };
            let id = id.to_owned();
            Dependency { id, kind }
        });
        let package = Package {
            name: name.to_owned(),
            version: Version::new(0, 1, 0),
            rust_version: Some(Version::new(1, 89, 0)),
            dependencies: dependencies.collect(),
        };
        packages.insert(name.to_owned(), package);
    }
    let names = packages.keys().filter(|name| name.starts_with("keros"));
    Graph {
        members: names.cloned().collect(),
        packages,
    }
}

/// The crates that must do without candle, and whatever else is given.
fn house(lines: &[&str]) -> Graph {
    let mut house = vec![
        "keros-image",
        "keros-data",
        "keros-callbacks",
        "keros-abi",
        "keros-plugin",
        "keros-plugin-host",
        "keros-plugin-check",
    ];
    house.extend(lines);
    graph(&house)
}

fn source(path: &str, text: &str) -> [Source; 1] {
    let (path, text) = (path.to_owned(), text.to_owned());
    [Source { path, text }]
}

/// Passes if there is one violation and it contains every one of `words`.
#[track_caller]
fn check_broken(violations: &[String], words: &[&str]) {
    assert_eq!(violations.len(), 1, "{violations:?}");
    let violation = violations.concat();
    for word in words {
        assert!(violation.contains(word), "no `{word}` in `{violation}`");
    }
}

#[track_caller]
fn check_kept(violations: &[String]) {
    assert!(violations.is_empty(), "{violations:?}");
}

#[test]
fn an_unlisted_arrow_is_found_whatever_its_kind() -> Result<()> {
    let arrows = Arrows::parse(PAGE)?;
    let check = |image: &str| {
        let data = "keros-data → keros-image, serde";
        let lines = [image, data, "keros → keros-data", "serde"];
        rules::unlisted_arrows(&graph(&lines), &arrows)
    };
    check_kept(&check("keros-image → serde, keros (dev)"));
    for (image, arrow) in [
        ("keros-image → keros-data", "→ keros-data (normal"),
        ("keros-image → keros-data (dev)", "→ keros-data (dev"),
        ("keros-image → keros-data (build)", "→ keros-data (build"),
        ("keros-image → keros", "→ keros (normal"),
    ] {
        check_broken(&check(image), &["keros-image", arrow]);
    }
    Ok(())
}

#[test]
fn a_package_without_a_line_and_a_line_without_a_package_are_found() -> Result<()> {
    let arrows = Arrows::parse(PAGE)?;
    let check = |members: &[&str]| rules::unlisted_arrows(&graph(members), &arrows);
    check_kept(&check(&["keros-image", "keros-data", "keros"]));
    let violations = check(&["keros-image", "keros-data", "keros", "keros-new"]);
    check_broken(&violations, &["keros-new has no line"]);
    let violations = check(&["keros-image", "keros-data"]);
    check_broken(&violations, &["keros has a line", "not in the workspace"]);
    Ok(())
}

#[test]
fn a_page_of_arrows_that_makes_no_sense_is_refused() {
    for (page, words) in [
        ("# A page", "no block is fenced as ```arrows"),
        (
            "```arrows\na → –\n```",
            "no block is fenced as ```arrows in tests",
        ),
        ("```arrows\na, b\n```", "no → in the line `a, b`"),
        (
            "```arrows\na → b\nb → –\n```",
            "names b, which has no line above it",
        ),
        ("```arrows\na → –\na → –\n```", "second of its package"),
    ] {
        let error = Arrows::parse(page).expect_err(page).to_string();
        assert!(error.contains(words), "no `{words}` in `{error}`");
    }
}

#[test]
fn candle_is_found_behind_other_packages() {
    let tokenizer = "tokenizer → candle-core";
    let check =
        |data: &str| rules::candle_where_none_belongs(&house(&[data, tokenizer, "candle-core"]));
    check_kept(&check("keros-data → keros-image"));
    check_kept(&check("keros-data → candle-core (dev)"));
    check_broken(
        &check("keros-data → keros-image, tokenizer"),
        &["keros-data → tokenizer → candle-core"],
    );
    check_broken(
        &check("keros-data → tokenizer (build)"),
        &["keros-data → tokenizer → candle-core"],
    );
}

#[test]
fn a_crate_that_is_gone_does_not_pass_for_one_without_candle() {
    let mut gone = house(&[]);
    gone.packages.remove("keros-plugin");
    gone.members.retain(|name| name != "keros-plugin");
    let violations = rules::candle_where_none_belongs(&gone);
    check_broken(&violations, &["keros-plugin is not in the workspace"]);
}

#[test]
fn a_dependency_of_the_abi_is_found() {
    check_kept(&rules::dependencies_of_the_abi(&house(&[])));
    let check = |abi: &str| rules::dependencies_of_the_abi(&house(&[abi, "libc"]));
    check_kept(&check("keros-abi → libc (dev)"));
    check_broken(&check("keros-abi → libc"), &["keros-abi depends on libc"]);
    let violations = check("keros-abi → libc (build)");
    check_broken(&violations, &["keros-abi depends on libc"]);
}

#[test]
fn a_version_of_ones_own_is_found() -> Result<()> {
    const GOOD: &str = "\
        [package]\n\
        version.workspace = true\n\
        edition.workspace = true\n\
        rust-version.workspace = true\n\
        license.workspace = true\n\
        [lints]\n\
        workspace = true\n\
        [dependencies]\n\
        serde = { workspace = true, optional = true }\n\
        [target.'cfg(unix)'.dev-dependencies]\n\
        libc.workspace = true\n";
    let check = |from: &str, to: &str| -> Result<Vec<String>> {
        assert!(GOOD.contains(from), "the example has no `{from}`");
        let path = "crates/example/Cargo.toml".to_owned();
        let table = GOOD.replacen(from, to, 1).parse()?;
        Ok(rules::own_versions(&[Manifest { path, table }]))
    };
    check_kept(&check("", "")?);
    for (from, to, words) in [
        (
            "version.workspace = true",
            "version = \"0.2.0\"",
            "`version.workspace",
        ),
        (
            "edition.workspace = true",
            "edition = \"2021\"",
            "`edition.workspace",
        ),
        (
            "rust-version.workspace = true",
            "",
            "`rust-version.workspace",
        ),
        (
            "license.workspace = true",
            "license = \"MIT\"",
            "`license.workspace",
        ),
        ("[lints]\nworkspace = true", "", "`[lints]`"),
        (
            "{ workspace = true, optional = true }",
            "\"1\"",
            "`serde.workspace",
        ),
        (
            "libc.workspace = true",
            "libc = { path = \"c\" }",
            "`libc.workspace",
        ),
    ] {
        check_broken(&check(from, to)?, &["crates/example/Cargo.toml", words]);
    }
    Ok(())
}

#[test]
fn a_dependency_that_needs_a_newer_rust_is_found() {
    let mut graph = graph(&["keros → new", "new"]);
    check_kept(&rules::dependencies_too_new(&graph));
    if let Some(new) = graph.packages.get_mut("new") {
        new.rust_version = Some(Version::new(1, 90, 0));
    }
    let violations = rules::dependencies_too_new(&graph);
    check_broken(
        &violations,
        &["new 0.1.0 needs Rust 1.90.0, we promise 1.89.0"],
    );
}

#[test]
fn a_readme_with_another_rust_version_is_found() {
    let graph = graph(&["keros"]);
    check_kept(&rules::rust_version_unsaid(
        &graph,
        "It needs Rust 1.89 or later.",
    ));
    let violations = rules::rust_version_unsaid(&graph, "It needs Rust 1.88 or later.");
    check_broken(&violations, &["`Rust 1.89`"]);
}

#[test]
fn a_layer_that_is_not_listed_is_found() {
    let list = source(
        "layers/mod.rs",
        "pub(crate) use a::inner;\npub use a::{\n    ELU, Axes,\n};\npub use b::Dense;\n",
    );
    let page =
        |row: &str| format!("## Layers, optimizers, metrics\n| `Core` | {row} |\n## Other\n");
    check_kept(&rules::classes_untold(
        &list,
        &page("`Dense`, `ELU` | `LSTM`"),
    ));
    let violations = rules::classes_untold(&list, &page("`Dense` | `ELU`"));
    check_broken(&violations, &["layers/mod.rs exports ELU"]);
    let violations = rules::classes_untold(&list, &page("`ELU`"));
    check_broken(&violations, &["layers/mod.rs exports Dense"]);
}

#[test]
fn a_layer_that_is_listed_and_not_there_is_found() {
    let list = source("layers/mod.rs", "mod b;\npub use b::Dense;\n");
    let page =
        |row: &str| format!("## Layers, optimizers, metrics\n| {row} | `LSTM` |\n## Other\n");
    let others = "core layers | `Dense` and its `units`, the trait `Layer`";
    check_kept(&rules::classes_untold(&list, &page(others)));
    let schedules = "core layers | `Dense` | |\n| schedules | `CosineDecay`";
    check_kept(&rules::classes_untold(&list, &page(schedules)));
    let violations = rules::classes_untold(&list, &page("core layers | `Dense`, `Dens`"));
    check_broken(
        &violations,
        &["docs/from-keras.md lists Dens as there, which keros-nn does not export"],
    );
}

#[test]
fn cuda_outside_keros_tensor_is_found() {
    let cuda = concat!("#[cfg(all(unix, feature = ", "\"cuda\"", "))]\nfn f() {}");
    check_kept(&rules::cuda_elsewhere(&source(
        "crates/keros-tensor/src/a.rs",
        cuda,
    )));
    let comment = format!("// {cuda}");
    check_kept(&rules::cuda_elsewhere(&source(
        "crates/keros-nn/src/a.rs",
        &comment,
    )));
    let violations = rules::cuda_elsewhere(&source("crates/keros-nn/src/a.rs", cuda));
    check_broken(
        &violations,
        &["crates/keros-nn/src/a.rs asks for the cuda feature"],
    );
}

#[test]
fn a_file_without_its_reason_is_found() {
    check_kept(&rules::no_module_comment(&source(
        "a.rs",
        "//! Why.\nfn f() {}\n",
    )));
    let violations = rules::no_module_comment(&source("a.rs", "use std::fs;\n//! Late.\n"));
    check_broken(&violations, &["a.rs does not begin with a `//!` comment"]);
}

#[test]
fn a_test_that_hides_why_it_was_not_run_is_found() {
    let hidden = concat!(
        "    eprint",
        "ln!(\n        \"not run: no compiler\"\n    );\n"
    );
    let check = |path: &str, text: &str| rules::told_to_nobody(&source(path, text));
    check_kept(&check("crates/a/src/main.rs", hidden));
    check_kept(&check("crates/a/tests/it/b.rs", &format!("// {hidden}")));
    check_kept(&check(
        "crates/a/tests/it/b.rs",
        "let _ = writeln!(std::io::stderr(), \"not run: no compiler\");\n",
    ));
    let violations = check("crates/a/tests/it/b.rs", hidden);
    check_broken(&violations, &["crates/a/tests/it/b.rs prints"]);
}

#[test]
fn a_readme_that_is_wrong_about_its_crate_is_found() {
    let graph = graph(&["keros-image", "keros-tensor → candle-core", "candle-core"]);
    let check = |name: &str, features: &[&str], readme: &str| {
        let front = Front {
            name: name.to_owned(),
            readme: readme.to_owned(),
            features: features
                .iter()
                .map(|feature| (*feature).to_owned())
                .collect(),
            licensed: !readme.contains("unlicensed"),
        };
        rules::fronts_untold(&graph, &[front])
    };
    let none = "- **Features:** none.\n- **Depends on:** no candle.\n";
    check_kept(&check("keros-image", &[], none));
    let plots = "- **Features:** `plots`.\n- **Depends on:** candle.\n";
    check_kept(&check("keros-tensor", &["plots"], plots));
    for (name, features, readme, word) in [
        ("keros-image", &[][..], "", "no README"),
        ("keros-image", &[], "unlicensed", "licences"),
        ("keros-image", &[], plots, "features"),
        ("keros-tensor", &[], none, "wrong about candle"),
        ("keros-tensor", &["plots", "remote"], plots, "`remote`"),
    ] {
        let violations = check(name, features, readme);
        let told = violations.iter().any(|violation| violation.contains(word));
        assert!(told, "no `{word}` in {violations:?}");
    }
}

#[test]
fn a_plugin_without_a_readme_is_found() {
    let check = |name: &str, readme: &str, is_member| {
        let (name, readme) = (name.to_owned(), readme.to_owned());
        rules::plugins_untold(&[PluginFront {
            name,
            readme,
            is_member,
        }])
    };
    let in_c = "# a\n\n## Configuration\n";
    check_kept(&check("a", in_c, false));
    let in_rust = format!("{in_c}\n```sh\ncargo build --release -p a\n```\n");
    check_kept(&check("a", &in_rust, true));
    check_kept(&check("misbehaving", "", true));
    check_broken(&check("a", in_c, true), &["`cargo build --release -p a`"]);
    check_broken(&check("b", in_c, false), &["plugins/b", "`# b`"]);
    assert_eq!(check("a", "", true).len(), 3);
}

#[test]
fn a_version_that_the_workspace_has_not_is_found() -> Result<()> {
    let lock = |version: &str| -> Result<Manifest> {
        let text = format!(
            "[[package]]\nname = \"a\"\nversion = \"{version}\"\nsource = \"registry\"\n\
             [[package]]\nname = \"own\"\nversion = \"9.0.0\"\n"
        );
        let path = "Cargo.lock".to_owned();
        Ok(Manifest {
            path,
            table: text.parse()?,
        })
    };
    check_kept(&rules::versions_untested(
        &lock("1.0.0")?,
        &[lock("1.0.0")?],
    ));
    let violations = rules::versions_untested(&lock("1.0.0")?, &[lock("1.0.1")?]);
    check_broken(&violations, &["has a 1.0.1"]);
    Ok(())
}

#[test]
fn a_name_that_no_script_defines_is_found() -> Result<()> {
    let check = |text: &str| rules::names_undefined(&source("a.py", text));
    let whole = "import sys\nlater = lambda: THERE\nTHERE = [len(x) for x in sys.argv]\n";
    let broken = "def run(path):\n    return time.time() - len(path)\n";
    if let Some((whole, broken)) = check(whole)?.zip(check(broken)?) {
        check_kept(&whole);
        check_broken(&broken, &["a.py", "`time`"]);
    }
    Ok(())
}
