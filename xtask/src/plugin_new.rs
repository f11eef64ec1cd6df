//! `cargo xtask plugin new`: a plugin that builds and passes its test, from the templates beside this file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;
use crate::cli::{Misuse, NewPlugin};
use crate::help::PLUGIN_NEW;

const HEADER: &str = include_str!("../../crates/keros-abi/include/keros.h");

/// Names that the plugin uses itself, that cargo refuses, or that Rust has.
const TAKEN: &[&str] = &[
    "alloc",
    "box-error",
    "build",
    "callback",
    "callback-result",
    "config",
    "context",
    "core",
    "decision",
    "deps",
    "event",
    "event-kind",
    "event-set",
    "examples",
    "incremental",
    "level",
    "logged",
    "logs",
    "ok",
    "option",
    "plugin",
    "result",
    "run",
    "run-info",
    "schemars",
    "serde",
    "some",
    "std",
    "string",
    "test",
    "vec",
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "err",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "none",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Makes the plugin, and says what to do next.
pub(crate) fn run(plugin: &NewPlugin) -> Result<()> {
    check_name(&plugin.name)?;
    let root = cargo::root();
    let (parent, inside) = match &plugin.folder {
        Some(folder) => (resolved(folder)?, false),
        None => (root.join("plugins"), true),
    };
    let folder = parent.join(&plugin.name);
    if folder.exists() {
        return Err(Misuse::new(PLUGIN_NEW, format!("{} exists already", folder.display())).into());
    }
    if inside {
        let packages = cargo::metadata()?.packages;
        if packages.iter().any(|package| *package.name == plugin.name) {
            let sentence = format!("there is a package `{}` in the workspace", plugin.name);
            return Err(Misuse::new(PLUGIN_NEW, sentence).into());
        }
    } else if folder.starts_with(resolved(root)?) {
        let sentence =
            "`--path` leads into this workspace; without it the plugin is a member of it";
        return Err(Misuse::new(PLUGIN_NEW, sentence).into());
    }
    for (name, content) in files(plugin, root, inside)? {
        write(&folder.join(name), &content)?;
    }
    if inside {
        register(plugin, root)?;
    }
    if !plugin.c {
        // The order of names and the length of lines depend on the name.
        let mut format = cargo::command("fmt --manifest-path");
        format.arg(folder.join("Cargo.toml"));
        cargo::run(format).context("the plugin is made, but not formatted")?;
    }
    println!("made the plugin {} in {}", plugin.name, folder.display());
    println!("README.md there tells how to build and test it");
    Ok(())
}

/// A name that is good for a package, a library, an id and a type.
fn check_name(name: &str) -> Result<()> {
    let good = name.split('-').all(|word| !word.is_empty())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
        && name.len() <= 63;
    let sentence = if !good {
        format!(
            "`{}` is no name for a plugin (expected at most 63 lower-case letters, digits and single hyphens, a letter first)",
            name.escape_debug()
        )
    } else if TAKEN.contains(&name) || name.starts_with("keros") {
        format!("the name `{name}` is taken by Rust or by what a plugin uses")
    } else {
        return Ok(());
    };
    Err(Misuse::new(PLUGIN_NEW, sentence).into())
}

/// A path from the root, without `..` and links, of which the end need not exist.
fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let (mut existing, mut rest) = (path.as_path(), PathBuf::new());
    loop {
        if let Ok(found) = existing.canonicalize() {
            return Ok(found.join(rest));
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            bail!("there is no folder {}", path.display());
        };
        rest = Path::new(name).join(rest);
        existing = parent;
    }
}

/// The files of the plugin, by their paths in its folder.
fn files(plugin: &NewPlugin, root: &Path, inside: bool) -> Result<Vec<(PathBuf, String)>> {
    let name = &plugin.name;
    let checkout = if inside { Path::new("../..") } else { root };
    let checkout = checkout
        .to_str()
        .context("the path of this checkout is not Unicode")?;
    ensure!(
        !checkout.contains(['\'', '"', '$', '#', '\\', '\n']),
        "the path of this checkout, {checkout}, has characters that need quoting in a Makefile or in TOML"
    );
    let fill = |template: &str, more: &[(&str, &str)]| {
        let words = [("{name}", name.as_str()), ("{root}", checkout)];
        let words = words.iter().chain(more);
        words.fold(template.to_owned(), |text, (word, value)| {
            text.replace(word, value)
        })
    };
    if plugin.c {
        let include = if inside {
            "../../crates/keros-abi/include"
        } else {
            "."
        };
        let check = format!(
            "cargo run --quiet --manifest-path '{checkout}/Cargo.toml' --package keros-plugin-check --"
        );
        let words = [("{include}", include), ("{check}", check.as_str())];
        let mut files = vec![
            (
                format!("{name}.c").into(),
                fill(include_str!("plugin_new/c/plugin.c.in"), &[]),
            ),
            (
                "Makefile".into(),
                fill(include_str!("plugin_new/c/Makefile.in"), &words),
            ),
            (
                "README.md".into(),
                fill(include_str!("plugin_new/c/README.md.in"), &[]),
            ),
        ];
        files.push((".gitignore".into(), "*.so\n".to_owned()));
        if !inside {
            files.push(("keros.h".into(), HEADER.to_owned()));
        }
        return Ok(files);
    }
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
    let words = [
        (
            "{Type}",
            name.split('-').map(capitalized).collect::<String>(),
        ),
        ("{crate}", name.replace('-', "_")),
        (
            "{package}",
            if inside {
                MEMBER.to_owned()
            } else {
                ALONE.to_owned()
            },
        ),
        (
            "{dependencies}",
            if inside {
                OF_WORKSPACE.to_owned()
            } else {
                fill(BY_PATH, &[])
            },
        ),
        (
            "{commands}",
            if inside {
                format!("cargo build --release -p {name}\ncargo test -p {name}")
            } else {
                "cargo build --release\ncargo test".to_owned()
            },
        ),
    ];
    let words: Vec<(&str, &str)> = words
        .iter()
        .map(|(word, value)| (*word, value.as_str()))
        .collect();
    let file = |path: &str, template: &str| (path.into(), fill(template, &words));
    let mut files = vec![
        file("Cargo.toml", include_str!("plugin_new/rust/Cargo.toml.in")),
        file("src/lib.rs", include_str!("plugin_new/rust/lib.rs.in")),
        file(
            "tests/it/main.rs",
            include_str!("plugin_new/rust/test.rs.in"),
        ),
        file("README.md", include_str!("plugin_new/rust/README.md.in")),
    ];
    if !inside {
        files.push((".gitignore".into(), "/target\n".to_owned()));
    }
    Ok(files)
}

const MEMBER: &str = "\
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish = false

[lints]
workspace = true
";

const ALONE: &str = "\
version = \"0.1.0\"
edition = \"2024\"
publish = false

# A package of its own, whatever it lies in.
[workspace]
";

const OF_WORKSPACE: &str = "\
keros-plugin.workspace = true
schemars.workspace = true
serde.workspace = true

[dev-dependencies]
keros-plugin-host.workspace = true

[[test]]
name = \"it\"
path = \"tests/it/main.rs\"";

const BY_PATH: &str = "\
keros-plugin = { path = \"{root}/crates/keros-plugin\" }
schemars = \"1\"
serde = { version = \"1\", features = [\"derive\"] }

[dev-dependencies]
keros-plugin-host = { path = \"{root}/crates/keros-plugin-host\" }

[[test]]
name = \"it\"
path = \"tests/it/main.rs\"";

/// Makes the plugin known to the workspace: in Rust with its arrows, in C as a folder that is no package.
fn register(plugin: &NewPlugin, root: &Path) -> Result<()> {
    let name = &plugin.name;
    if plugin.c {
        let path = root.join("Cargo.toml");
        let manifest = with_excluded(&read(&path)?, name)
            .context("no line of Cargo.toml begins with `exclude = [`")?;
        return write(&path, &manifest);
    }
    let path = root.join("ARCHITECTURE.md");
    let page =
        with_arrows(&read(&path)?, name).context("ARCHITECTURE.md has no blocks of arrows")?;
    write(&path, &page)
}

/// A manifest that names the folder of a plugin under `exclude`.
fn with_excluded(manifest: &str, name: &str) -> Option<String> {
    let list = manifest.find("\nexclude = [")?;
    let end = list + manifest[list..].find(']')?;
    let (before, after) = manifest.split_at(end);
    Some(format!("{before}, \"plugins/{name}\"{after}"))
}

/// A page whose two blocks of arrows have those of a plugin.
fn with_arrows(page: &str, name: &str) -> Option<String> {
    let mut page = page.to_owned();
    for (fence, before, arrow) in [
        ("\n```arrows\n", "\nxtask ", "keros-plugin"),
        ("\n```arrows in tests\n", "\n```", "keros-plugin-host"),
    ] {
        let block = page.find(fence)? + fence.len();
        let at = block + page[block..].find(before)?;
        page.insert_str(at, &format!("\n{name:<17} → {arrow}"));
    }
    Some(page)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{check_name, resolved, with_arrows, with_excluded};
    use crate::cargo;

    #[test]
    fn names_are_good_everywhere_or_refused() {
        for name in ["a", "stop-below", "a1-2b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a_b",
            "1a",
            "a/b",
            "..",
            "é",
            &"a".repeat(64),
        ] {
            let error = check_name(name).expect_err(name).to_string();
            assert!(error.contains("is no name for a plugin"), "{error}");
        }
        for name in ["fn", "test", "serde", "config", "keros", "keros-mine"] {
            let error = check_name(name).expect_err(name).to_string();
            assert!(
                error.ends_with("is taken by Rust or by what a plugin uses"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_folder_beside_the_workspace_is_outside_of_it() {
        let root = resolved(cargo::root()).expect("the workspace");
        for (path, inside) in [
            ("..", false),
            ("../not-there/yet", false),
            ("../somewhere/else", false),
            ("crates/../plugins", true),
            ("not-there", true),
        ] {
            let path = cargo::root().join(path);
            let found = resolved(&path).expect("a path");
            assert_eq!(found.starts_with(&root), inside, "{}", path.display());
        }
        assert!(resolved(&cargo::root().join("not-there/..")).is_err());
    }

    #[test]
    fn the_workspace_gets_to_know_it() {
        let page =
            "# A\n```arrows\na     → –\nxtask → –\n```\nand\n```arrows in tests\na → a\n```\nend\n";
        assert_eq!(
            with_arrows(page, "mine").as_deref(),
            Some(
                "# A\n```arrows\na     → –\nmine              → keros-plugin\nxtask → –\n```\nand\n```arrows in tests\na → a\nmine              → keros-plugin-host\n```\nend\n"
            )
        );
        assert_eq!(with_arrows("# A\n", "mine"), None);
        let manifest = "[workspace]\nexclude = [\"plugins/a\"]\nb = []\n";
        assert_eq!(
            with_excluded(manifest, "mine").as_deref(),
            Some("[workspace]\nexclude = [\"plugins/a\", \"plugins/mine\"]\nb = []\n")
        );
    }
}
