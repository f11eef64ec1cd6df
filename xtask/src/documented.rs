//! A test: the commands that the documentation shows are understood, and what they name is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package, TargetKind};

use crate::{cargo, cli};

/// A command of a page, in words.
#[derive(Debug, PartialEq)]
struct Shown {
    words: Vec<String>,
    /// As it stands there.
    line: String,
}

/// The commands of the blocks of a shell, and those between backticks that begin with `cargo `.
fn commands(page: &str) -> Vec<Shown> {
    let mut commands = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            let code = line.split('`').skip(1).step_by(2);
            commands.extend(code.filter(|code| code.starts_with("cargo ")).map(shown));
            continue;
        };
        let console = info == "console";
        let block = lines.by_ref().map(str::trim);
        for line in block.take_while(|line| *line != "```") {
            let line = match line.strip_prefix("$ ") {
                Some(line) if console => line,
                _ if info == "sh" => line,
                _ => continue,
            };
            commands.extend(line.split(" && ").map(shown));
        }
    }
    commands.retain(|command| !command.words.is_empty());
    commands
}

fn shown(line: &str) -> Shown {
    Shown {
        words: words(line),
        line: line.to_owned(),
    }
}

/// The words of a line as a shell sees them, without its comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What a command says that is not so. `page` is the text it stands in, and `folder` where that is.
fn wrong(command: &Shown, metadata: &Metadata, page: &str, folder: &Path) -> Vec<String> {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    if let ["cargo", "xtask", asked @ ..] = words.as_slice()
        // The name of the tool alone is no command.
        && !asked.is_empty()
        && let Err(misuse) = cli::parse(asked.iter().map(Into::into))
    {
        wrong.push(misuse.to_string());
    }
    if words.first() == Some(&"cargo") && words.get(1) != Some(&"xtask") {
        wrong.extend(wrong_names(&words, metadata, page, folder));
    }
    let root = cargo::root();
    for word in &words {
        // As seen from a folder that holds the checkout, too.
        let path = word.strip_prefix("keros/").unwrap_or(word);
        let path = path.split('=').next().unwrap_or(path);
        let first = path.split('/').next().unwrap_or_default();
        let ours = path.contains('/') && !first.is_empty() && first != "..";
        let ours = ours && root.join(first).is_dir();
        if ours && first != "target" && !path.contains("/target/") && !root.join(path).exists() {
            wrong.push(format!("there is no {path}"));
        }
    }
    wrong
}

/// Names of packages and of their targets that are not there, nor made by the page.
fn wrong_names(words: &[&str], metadata: &Metadata, page: &str, folder: &Path) -> Vec<String> {
    let own = words.iter().take_while(|word| **word != "--");
    let own: Vec<&str> = own
        .flat_map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => vec![option, value],
            _ => vec![*word],
        })
        .collect();
    let value = |options: &[&str]| {
        let at = own.iter().position(|word| options.contains(word))?;
        own.get(at + 1).copied()
    };
    let manifest = folder.join("Cargo.toml");
    let of_folder = |package: &&Package| package.manifest_path.as_std_path() == manifest;
    let packages = metadata.packages.iter();
    let packages: Vec<&Package> = match value(&["-p", "--package"]) {
        Some(name) => {
            let named: Vec<&Package> = packages.filter(|p| p.name.as_str() == name).collect();
            if named.is_empty() {
                return vec![format!("there is no package {name}")];
            }
            named
        }
        None if metadata.packages.iter().any(|package| of_folder(&package)) => {
            packages.filter(of_folder).collect()
        }
        None => packages.collect(),
    };
    let mut wrong = Vec::new();
    for (option, kind) in [
        ("--bin", TargetKind::Bin),
        ("--example", TargetKind::Example),
        ("--test", TargetKind::Test),
        ("--bench", TargetKind::Bench),
    ] {
        let Some(name) = value(&[option]) else {
            continue;
        };
        if option == "--bin" && page.contains(&format!("`src/bin/{name}.rs`")) {
            continue;
        }
        let mut targets = packages.iter().flat_map(|package| &package.targets);
        if !targets.any(|target| target.name == name && target.kind.contains(&kind)) {
            wrong.push(format!("there is no {} {name}", &option[2..]));
        }
    }
    wrong
}

/// The pages of the repository: Markdown outside of folders of tests and of what was built.
fn pages() -> Result<BTreeSet<PathBuf>> {
    let mut pages = BTreeSet::new();
    let mut folders = vec![cargo::root().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !["target", "tests"].contains(&name.as_ref()) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                pages.insert(path);
            }
        }
    }
    Ok(pages)
}

#[test]
fn commands_are_understood_and_what_they_name_is_there() -> Result<()> {
    let metadata = cargo::metadata()?;
    let (mut seen, mut told) = (0, Vec::new());
    for page in pages()? {
        let text =
            fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let folder = page.parent().unwrap_or(&page);
        for command in commands(&text) {
            seen += 1;
            let wrong = wrong(&command, &metadata, &text, folder);
            let place = page.strip_prefix(cargo::root()).unwrap_or(&page).display();
            told.extend(
                wrong
                    .iter()
                    .map(|what| format!("{place}: `{}`: {what}", command.line)),
            );
        }
    }
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
    assert!(
        seen > 30,
        "only {seen} commands were found: is the test looking?"
    );
    Ok(())
}

#[test]
fn a_command_that_went_out_of_date_is_found() -> Result<()> {
    let metadata = cargo::metadata()?;
    for (line, expected) in [
        ("cargo xtask demo -- --epochs 3  # as before", None),
        (
            "cargo xtask demonstrate",
            Some("there is no command `demonstrate`"),
        ),
        ("cargo test -p keros-data", None),
        (
            "cargo test --package=keros-date",
            Some("there is no package keros-date"),
        ),
        ("cargo run -p keros-examples --bin image_folder -- A", None),
        (
            "cargo run -p keros-examples --bin folder",
            Some("there is no bin folder"),
        ),
        ("cargo run --bin classify -- x.jpg", None),
        (
            "cc -I keros/crates/keros-abi/include mine/mine.c -o mine.so",
            None,
        ),
        (
            "cc -I keros/crates/keros-abi/header",
            Some("there is no crates/keros-abi/header"),
        ),
    ] {
        let page = "This is `src/bin/classify.rs`.";
        let wrong = wrong(&shown(line), &metadata, page, cargo::root());
        assert_eq!(
            wrong.first().map(String::as_str),
            expected,
            "for `{line}`: {wrong:?}"
        );
    }
    Ok(())
}

#[test]
fn commands_are_those_of_shells_and_of_cargo() {
    let page = "Say `cargo a` or `b`.\n```sh\nc 'd e' && f  # g\n# h\n```\n```console\n$ i\nj\n```\n```rust\nk\n```\n";
    let lines: Vec<String> = commands(page)
        .iter()
        .map(|command| command.words.join("|"))
        .collect();
    assert_eq!(lines, ["cargo|a", "c|d e", "f", "i"]);
}
