//! The rules, each a function from a part of the workspace to the lines that say what breaks it and what to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::DependencyKind;

use super::workspace::{Front, Graph, Manifest, Package, PluginFront, Source};

/// The crates that must build without candle: data workers and plugins have no use for it.
const WITHOUT_CANDLE: [&str; 7] = [
    "keros-image",
    "keros-data",
    "keros-callbacks",
    "keros-abi",
    "keros-plugin",
    "keros-plugin-host",
    "keros-plugin-check",
];

/// Who may know whom: each package of the workspace with the packages it may depend on.
#[derive(Debug)]
pub(crate) struct Arrows {
    /// Everywhere.
    everywhere: BTreeMap<String, BTreeSet<String>>,
    /// In tests, benches and examples only, besides those everywhere.
    in_tests: BTreeMap<String, BTreeSet<String>>,
}

impl Arrows {
    /// Reads two blocks of a Markdown page, fenced as `arrows` and `arrows in tests`, of lines `a → b, c`.
    ///
    /// In the first block every package has its line, which names only packages of the lines above it; `–` is none of
    /// those and `all` is every one.
    pub(crate) fn parse(page: &str) -> Result<Self> {
        let mut everywhere = BTreeMap::new();
        for (line, from, to) in block(page, "arrows")? {
            let above: BTreeSet<String> = everywhere.keys().cloned().collect();
            let allowed = match to {
                "–" => BTreeSet::new(),
                "all" => above,
                names => listed(line, names, &above)?,
            };
            if everywhere.insert(from.to_owned(), allowed).is_some() {
                bail!("the line `{line}` is the second of its package");
            }
        }
        let packages = everywhere.keys().cloned().collect();
        let mut in_tests = BTreeMap::new();
        for (line, from, to) in block(page, "arrows in tests")? {
            in_tests.insert(from.to_owned(), listed(line, to, &packages)?);
        }
        Ok(Self {
            everywhere,
            in_tests,
        })
    }
}

/// The lines of a fenced block, each with what is left and right of its arrow.
fn block<'page>(
    page: &'page str,
    fence: &str,
) -> Result<Vec<(&'page str, &'page str, &'page str)>> {
    let mut lines = page
        .lines()
        .skip_while(|line| line.strip_prefix("```") != Some(fence));
    lines
        .next()
        .with_context(|| format!("no block is fenced as ```{fence}"))?;
    let lines = lines.take_while(|line| *line != "```");
    let arrows = lines.map(|line| {
        let (from, to) = line
            .split_once('→')
            .with_context(|| format!("no → in the line `{line}`"))?;
        Ok((line, from.trim(), to.trim()))
    });
    arrows.collect()
}

/// The names separated by commas, if all of them are known.
fn listed(line: &str, names: &str, known: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let names = names.split(',').map(|name| name.trim().to_owned());
    let names: BTreeSet<String> = names.collect();
    if let Some(name) = names.difference(known).next() {
        bail!("the line `{line}` names {name}, which has no line above it");
    }
    Ok(names)
}

/// A package of the workspace depends on another one only along a listed arrow, also in its tests and build script.
pub(crate) fn unlisted_arrows(graph: &Graph, arrows: &Arrows) -> Vec<String> {
    let mut violations = Vec::new();
    for package in graph.members() {
        let from = &package.name;
        let Some(everywhere) = arrows.everywhere.get(from) else {
            violations.push(format!(
                "{from} has no line among the arrows of ARCHITECTURE.md: add `{from} → …`"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if !graph.members.contains(&dependency.id) {
                continue;
            }
            let to = &graph.packages[&dependency.id].name;
            let in_tests = dependency.kind == DependencyKind::Development
                && arrows
                    .in_tests
                    .get(from)
                    .is_some_and(|names| names.contains(to));
            if !everywhere.contains(to) && !in_tests {
                violations.push(format!(
                    "{from} → {to} ({} dependency) is not among the arrows of ARCHITECTURE.md: \
                     do without it, or list the arrow there and give the reason",
                    dependency.kind
                ));
            }
        }
    }
    for name in arrows.everywhere.keys() {
        if graph.member(name).is_none() {
            violations.push(format!(
                "{name} has a line among the arrows of ARCHITECTURE.md, but is not in the workspace: remove the line"
            ));
        }
    }
    violations
}

/// No build of a crate that works without candle contains candle.
pub(crate) fn candle_where_none_belongs(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for name in WITHOUT_CANDLE {
        let Some(package) = graph.member(name) else {
            violations.push(format!(
                "{name} is not in the workspace: correct WITHOUT_CANDLE in this test"
            ));
            continue;
        };
        if let Some(path) = path_to_candle(graph, package) {
            violations.push(format!(
                "{name} must build without candle, but: {}",
                path.join(" → ")
            ));
        }
    }
    violations
}

/// The shortest way from a package to candle, tests aside.
fn path_to_candle(graph: &Graph, from: &Package) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(from, vec![from.name.clone()])]);
    while let Some((package, path)) = queue.pop_front() {
        if package.name.starts_with("candle") {
            return Some(path);
        }
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Development && seen.insert(&dependency.id) {
                let next = &graph.packages[&dependency.id];
                let mut path = path.clone();
                path.push(next.name.clone());
                queue.push_back((next, path));
            }
        }
    }
    None
}

/// The ABI is a header and its mirror: whoever builds against it builds nothing else.
pub(crate) fn dependencies_of_the_abi(graph: &Graph) -> Vec<String> {
    let Some(abi) = graph.member("keros-abi") else {
        return vec!["keros-abi is not in the workspace: correct this test".to_owned()];
    };
    let dependencies = abi.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| {
            let name = &graph.packages[&dependency.id].name;
            format!("keros-abi depends on {name}: outside its tests it must depend on nothing")
        })
        .collect()
}

/// Every published package has its licences, and a README that tells its features and whether it brings candle.
pub(crate) fn fronts_untold(graph: &Graph, fronts: &[Front]) -> Vec<String> {
    let mut violations = Vec::new();
    for front in fronts {
        let name = &front.name;
        if !front.licensed {
            violations.push(format!(
                "{name} has not the licences of the workspace: link LICENSE-APACHE and LICENSE-MIT there"
            ));
        }
        let line = |label: &str| {
            front
                .readme
                .lines()
                .find_map(|line| line.strip_prefix(label))
        };
        let (Some(features), Some(dependencies)) =
            (line("- **Features:** "), line("- **Depends on:** "))
        else {
            violations.push(format!(
                "{name} has no README with its features and what it depends on: take another crate's as a model"
            ));
            continue;
        };
        let untold = front
            .features
            .iter()
            .filter(|feature| !features.contains(&format!("`{feature}`")));
        violations.extend(
            untold.map(|feature| {
                format!("the README of {name} does not tell its feature `{feature}`")
            }),
        );
        if front.features.is_empty() != (features == "none.") {
            violations.push(format!(
                "the README of {name} has features where its manifest has none, or none where it has some"
            ));
        }
        let with_candle = graph
            .member(name)
            .is_some_and(|package| path_to_candle(graph, package).is_some());
        if dependencies.starts_with("candle") != with_candle {
            violations.push(format!(
                "the README of {name} is wrong about candle: begin what it depends on with `candle` if it brings it, and only then"
            ));
        }
    }
    violations
}

/// Folders of `plugins` with plugins for tests only.
const FIXTURES: [&str; 1] = ["misbehaving"];

/// Every plugin has a README that begins with its name and tells how to configure it, and how to build it if it is a
/// package of the workspace.
pub(crate) fn plugins_untold(plugins: &[PluginFront]) -> Vec<String> {
    let mut violations = Vec::new();
    for PluginFront {
        name,
        readme,
        is_member,
    } in plugins
    {
        if FIXTURES.contains(&name.as_str()) {
            continue;
        }
        let mut needed = vec![format!("# {name}"), "## Configuration".to_owned()];
        if *is_member {
            needed.push(format!("cargo build --release -p {name}"));
        }
        needed.retain(|needed| !readme.lines().any(|line| line == needed));
        violations.extend(needed.iter().map(|missing| {
            format!("plugins/{name} has no README with the line `{missing}`: take another plugin's as a model")
        }));
    }
    violations
}

/// The packages that stand alone are built with the versions that the workspace is tested with.
pub(crate) fn versions_untested(ours: &Manifest, locks: &[Manifest]) -> Vec<String> {
    let ours: BTreeSet<(&str, &str)> = locked(ours).collect();
    let mut violations = Vec::new();
    for lock in locks {
        let others = locked(lock).filter(|package| !ours.contains(package));
        violations.extend(others.map(|(name, version)| {
            format!(
                "{} has {name} {version}, which the workspace has not: \
                 copy Cargo.lock there, and let cargo remove from it what is not needed",
                lock.path
            )
        }));
    }
    violations
}

/// Name and version of every package of a lock file that comes from a registry.
fn locked(lock: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let packages = lock.table.get("package").and_then(toml::Value::as_array);
    let packages = packages.into_iter().flatten();
    packages.filter_map(|package| {
        package.get("source")?;
        let text = |key| package.get(key)?.as_str();
        Some((text("name")?, text("version")?))
    })
}

/// Every version, lint and licence is stated once, in the workspace's manifest.
pub(crate) fn own_versions(manifests: &[Manifest]) -> Vec<String> {
    let mut violations = Vec::new();
    for Manifest { path, table } in manifests {
        let inherits = |value: Option<&toml::Value>| {
            let inherited = value.and_then(|value| value.get("workspace"));
            inherited.and_then(toml::Value::as_bool) == Some(true)
        };
        let package = table.get("package");
        for key in ["version", "edition", "rust-version", "license"] {
            if !inherits(package.and_then(|package| package.get(key))) {
                violations.push(format!("{path}: write `{key}.workspace = true`"));
            }
        }
        if !inherits(table.get("lints")) {
            violations.push(format!("{path}: write `[lints]` with `workspace = true`"));
        }
        for (name, value) in dependency_tables(table).flatten() {
            if !inherits(Some(value)) {
                violations.push(format!(
                    "{path}: write `{name}.workspace = true`, and state its version in the workspace's Cargo.toml"
                ));
            }
        }
    }
    violations
}

/// The tables of dependencies in a manifest: of each kind, for all platforms and for some.
fn dependency_tables(manifest: &toml::Table) -> impl Iterator<Item = &toml::Table> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(toml::Table::values);
    let tables = platforms
        .filter_map(toml::Value::as_table)
        .chain([manifest]);
    tables.flat_map(|table| {
        ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|kind| table.get(kind)?.as_table())
    })
}

/// Whoever has the Rust version we promise can build everything we depend on.
pub(crate) fn dependencies_too_new(graph: &Graph) -> Vec<String> {
    let Some(ours) = graph
        .members()
        .find_map(|member| member.rust_version.as_ref())
    else {
        return vec!["write `rust-version` in the workspace's Cargo.toml".to_owned()];
    };
    let mut violations = Vec::new();
    for package in graph.packages.values() {
        if let Some(theirs) = package
            .rust_version
            .as_ref()
            .filter(|theirs| *theirs > ours)
        {
            violations.push(format!(
                "{} {} needs Rust {theirs}, we promise {ours}: \
                 take an older version, or raise `rust-version` and say so in CHANGELOG.md",
                package.name, package.version
            ));
        }
    }
    violations
}

/// The README names the Rust version of the manifest.
pub(crate) fn rust_version_unsaid(graph: &Graph, readme: &str) -> Vec<String> {
    let ours = graph
        .members()
        .find_map(|member| member.rust_version.as_ref());
    let stated = ours.map(|ours| format!("Rust {}.{}", ours.major, ours.minor));
    match stated {
        Some(stated) if !readme.contains(&stated) => {
            vec![format!(
                "README.md does not say `{stated}`: correct the version it states"
            )]
        }
        _ => Vec::new(),
    }
}

/// What the lists of keros-nn export beside layers, losses, metrics and optimizers: types of their arguments, and what
/// one's own are made with.
const NO_CLASSES: [&str; 12] = [
    "Axes",
    "Border1",
    "Border2",
    "ClassAggregation",
    "Curve",
    "ForwardOnly",
    "Interpolation",
    "Padding",
    "PerChannel",
    "Slot",
    "SummationMethod",
    "Values",
];

/// Rows of the table that are about something else than layers, losses, metrics and optimizers.
const OTHER_ROWS: [&str; 4] = [
    "activations by name",
    "schedules",
    "initializers",
    "regularizers, constraints",
];

/// What stands in the rows and is none of the classes: traits, what is in another crate, and Keras's name for what has
/// another one here.
const NO_EXPORTS: [&str; 4] = ["ImageDataGenerator", "Layer", "Mean", "Merge"];

/// Who comes from Keras finds every layer, loss, metric and optimizer in the table that says which there are, and all
/// that it says is there.
pub(crate) fn classes_untold(lists: &[Source], page: &str) -> Vec<String> {
    const HEADING: &str = "## Layers, optimizers, metrics";
    const PAGE: &str = "docs/from-keras.md";
    let Some((_, section)) = page.split_once(HEADING) else {
        return vec![format!("{PAGE} has no `{HEADING}`: correct this test")];
    };
    let section = section
        .split_once("\n## ")
        .map_or(section, |(section, _)| section);
    let (mut there, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let mut promised = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let mut cells = row.split('|').skip(1);
        let about = cells.next().unwrap_or_default().trim();
        if !OTHER_ROWS.contains(&about) {
            promised.extend(quoted(cells.clone().next()));
        }
        for names in [&mut there, &mut missing] {
            names.extend(quoted(cells.next()));
        }
    }
    let mut violations = Vec::new();
    for list in lists {
        for class in exported(&list.text) {
            if class.ends_with("Rule") || class == "RuleOptimizer" || NO_CLASSES.contains(&class) {
                continue;
            }
            if missing.contains(class) || !there.contains(class) {
                violations.push(format!(
                    "{} exports {class}, which {PAGE} does not list as there: add it to the table, \
                     or to NO_CLASSES in this test",
                    list.path
                ));
            }
        }
    }
    let classes: BTreeSet<&str> = lists.iter().flat_map(|list| exported(&list.text)).collect();
    let is_class = |name: &&str| name.starts_with(|c: char| c.is_uppercase());
    for name in promised.into_iter().filter(is_class) {
        if !classes.contains(name) && !NO_EXPORTS.contains(&name) {
            violations.push(format!(
                "{PAGE} lists {name} as there, which keros-nn does not export: correct the table, or add it to \
                 NO_EXPORTS in this test"
            ));
        }
    }
    violations
}

/// The names between backticks in a cell of a table.
fn quoted(cell: Option<&str>) -> impl Iterator<Item = &str> {
    cell.unwrap_or_default().split('`').skip(1).step_by(2)
}

/// The types that a module exports with `pub use`.
fn exported(text: &str) -> impl Iterator<Item = &str> {
    let items = text.split("\npub use ").skip(1);
    let items = items.filter_map(|item| item.split(';').next());
    let names = items.flat_map(|item| item.split(|c: char| !c.is_alphanumeric() && c != '_'));
    names.filter(|name| name.starts_with(|c: char| c.is_uppercase()))
}

/// Above keros-tensor, code is written once for every device.
pub(crate) fn cuda_elsewhere(sources: &[Source]) -> Vec<String> {
    // In two parts, so that this file does not contain what it looks for.
    const CUDA: &str = concat!("feature=", "\"cuda\"");
    let asks = |source: &&Source| {
        let lines = source.text.lines().map(str::trim);
        let code: String = lines.filter(|line| !line.starts_with("//")).collect();
        code.replace(char::is_whitespace, "").contains(CUDA)
    };
    let outside = sources
        .iter()
        .filter(|source| !source.path.starts_with("crates/keros-tensor/"))
        .filter(asks);
    outside
        .map(|source| {
            format!(
                "{} asks for the cuda feature: ask keros-tensor for the device instead",
                source.path
            )
        })
        .collect()
}

/// Every source file begins with the comment that gives its reason to exist.
pub(crate) fn no_module_comment(sources: &[Source]) -> Vec<String> {
    let silent = sources
        .iter()
        .filter(|source| !source.text.starts_with("//!"));
    silent
        .map(|source| {
            format!(
                "{} does not begin with a `//!` comment: say why the file exists",
                source.path
            )
        })
        .collect()
}

/// The harness shows what a test prints with `eprintln!` only if the test fails, so a reason why it was not run would
/// stay unseen.
pub(crate) fn told_to_nobody(sources: &[Source]) -> Vec<String> {
    // In two parts, so that this file does not contain what it looks for.
    const HIDDEN: &str = concat!("eprint", "ln!(");
    let tests = sources.iter().filter(|source| {
        let mut folders = source.path.split('/');
        folders.any(|folder| folder == "tests")
    });
    let hides = |source: &&Source| {
        let mut lines = source.text.lines().map(str::trim);
        lines.any(|line| !line.starts_with("//") && line.contains(HIDDEN))
    };
    tests
        .filter(hides)
        .map(|source| {
            format!(
                "{} prints with `eprintln!`, which is not shown for a test that passes: write \
                 `let _ = writeln!(std::io::stderr(), \"not run: …\")`",
                source.path
            )
        })
        .collect()
}

/// No test runs the scripts of the benchmarks, which need libraries: each name that they use is defined, or a
/// builtin. `None` where there is no `python3` to tell.
pub(crate) fn names_undefined(scripts: &[Source]) -> Result<Option<Vec<String>>> {
    let mut violations = Vec::new();
    for Source { path, text } in scripts {
        let python = Command::new("python3")
            .args(["-c", include_str!("names.py")])
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut python = match python {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            python => python.context("cannot start python3")?,
        };
        let mut input = python.stdin.take().context("python3 has no input")?;
        input.write_all(text.as_bytes())?;
        drop(input);
        let output = python.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{path}: {said}");
        let names = String::from_utf8_lossy(&output.stdout);
        let undefined = names.lines();
        violations.extend(undefined.map(|name| format!("{path}: define or import `{name}`")));
    }
    Ok(Some(violations))
}
