//! The workspace as the rules see it: a graph of packages, the members' manifests, and their source files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::semver::Version;
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

/// One package of the build, reduced to what the rules ask about.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) rust_version: Option<Version>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One arrow of the graph. A package that is needed in two ways has two arrows.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) id: String,
    pub(crate) kind: DependencyKind,
}

/// Every package that some build of the workspace needs, on any platform and with any of our features.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) members: Vec<String>,
}

impl Graph {
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }
}

/// The manifest of one member.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) path: String,
    pub(crate) table: toml::Table,
}

/// One source file of a member; the path starts at the workspace root and has `/` on every platform.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A library or program that is published, as a newcomer meets it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) name: String,
    /// Empty if there is none.
    pub(crate) readme: String,
    /// The names of its features without `default`.
    pub(crate) features: Vec<String>,
    /// Whether it has the licences of the workspace.
    pub(crate) licensed: bool,
}

/// A folder of `plugins`, as a newcomer meets it.
#[derive(Debug)]
pub(crate) struct PluginFront {
    /// That of the folder.
    pub(crate) name: String,
    /// Empty if there is none.
    pub(crate) readme: String,
    /// Whether it is a package of the workspace.
    pub(crate) is_member: bool,
}

/// The workspace that this test belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) graph: Graph,
    root: PathBuf,
    /// The members' folders.
    folders: Vec<PathBuf>,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .features(CargoOpt::AllFeatures)
            .exec()
            .context("cannot read the workspace's metadata")?;
        let manifests = metadata
            .workspace_packages()
            .into_iter()
            .map(|package| package.manifest_path.as_std_path());
        Ok(Self {
            folders: manifests
                .filter_map(Path::parent)
                .map(Path::to_owned)
                .collect(),
            root: metadata.workspace_root.clone().into_std_path_buf(),
            graph: graph(metadata)?,
        })
    }

    /// The text of a file at the root.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        read(&self.root.join(name))
    }

    pub(crate) fn manifests(&self) -> Result<Vec<Manifest>> {
        let manifest = |folder: &PathBuf| {
            let path = folder.join("Cargo.toml");
            let table = read(&path)?.parse();
            Ok(Manifest {
                table: table.with_context(|| format!("cannot parse {}", path.display()))?,
                path: self.relative(&path),
            })
        };
        self.folders.iter().map(manifest).collect()
    }

    /// The packages under `crates`.
    pub(crate) fn fronts(&self) -> Result<Vec<Front>> {
        let mut fronts = Vec::new();
        for Manifest { path, table } in self.manifests()? {
            let Some(folder) = path.strip_suffix("/Cargo.toml") else {
                continue;
            };
            let Some(name) = folder.strip_prefix("crates/") else {
                continue;
            };
            let file = |name: &str| fs::read_to_string(self.root.join(folder).join(name)).ok();
            let features = table.get("features").and_then(toml::Value::as_table);
            let features = features.into_iter().flat_map(toml::Table::keys);
            fronts.push(Front {
                name: name.to_owned(),
                readme: file("README.md").unwrap_or_default(),
                features: features.filter(|f| *f != "default").cloned().collect(),
                licensed: ["LICENSE-APACHE", "LICENSE-MIT"]
                    .iter()
                    .all(|name| file(name).is_some_and(|text| self.text(name).ok() == Some(text))),
            });
        }
        Ok(fronts)
    }

    /// The folders under `plugins`, by name.
    pub(crate) fn plugins(&self) -> Result<Vec<PluginFront>> {
        let parent = self.root.join("plugins");
        let entries =
            fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
        let mut plugins = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let folder = entry.path();
                plugins.push(PluginFront {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    readme: fs::read_to_string(folder.join("README.md")).unwrap_or_default(),
                    is_member: self.folders.contains(&folder),
                });
            }
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(plugins)
    }

    /// The lock file of the workspace, and those of the packages under `examples/standalone`.
    pub(crate) fn locks(&self) -> Result<(Manifest, Vec<Manifest>)> {
        let lock = |path: &Path| {
            let table = read(path)?.parse();
            let table = table.with_context(|| format!("cannot parse {}", path.display()))?;
            let path = self.relative(path);
            anyhow::Ok(Manifest { path, table })
        };
        let folder = self.root.join("examples/standalone");
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let mut locks = Vec::new();
        for entry in entries {
            let folder = entry?.path();
            if folder.join("Cargo.toml").is_file() {
                locks.push(lock(&folder.join("Cargo.lock"))?);
            }
        }
        Ok((lock(&self.root.join("Cargo.lock"))?, locks))
    }

    /// The files of the members that end so: `rs`, or `py`.
    pub(crate) fn sources(&self, ending: &str) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        for folder in &self.folders {
            self.collect_sources(folder, ending, &mut sources)?;
        }
        Ok(sources)
    }

    fn collect_sources(
        &self,
        folder: &Path,
        ending: &str,
        sources: &mut Vec<Source>,
    ) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                let name = entry.file_name();
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    self.collect_sources(&path, ending, sources)?;
                }
            } else if path.extension().is_some_and(|of_path| of_path == ending) {
                sources.push(Source {
                    text: read(&path)?,
                    path: self.relative(&path),
                });
            }
        }
        Ok(())
    }

    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.to_string_lossy().replace('\\', "/")
    }
}

fn graph(metadata: Metadata) -> Result<Graph> {
    let resolve = metadata
        .resolve
        .context("cargo metadata resolved nothing")?;
    let mut dependencies: BTreeMap<_, _> = resolve
        .nodes
        .into_iter()
        .map(|node| (node.id, node.deps))
        .collect();
    let package = |package: cargo_metadata::Package| {
        let arrows = dependencies.remove(&package.id).unwrap_or_default();
        let arrows = arrows.into_iter().flat_map(|arrow| {
            let id = arrow.pkg.repr;
            arrow.dep_kinds.into_iter().map(move |info| Dependency {
                id: id.clone(),
                kind: info.kind,
            })
        });
        let reduced = Package {
            name: package.name.to_string(),
            version: package.version,
            rust_version: package.rust_version,
            dependencies: arrows.collect(),
        };
        (package.id.repr, reduced)
    };
    Ok(Graph {
        packages: metadata.packages.into_iter().map(package).collect(),
        members: metadata
            .workspace_members
            .into_iter()
            .map(|id| id.repr)
            .collect(),
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
