//! The rules of the house that a compiler cannot check: who may know whom, one place for versions, what each file owes
//! its reader. ARCHITECTURE.md gives the reasons.
//!
//! `rules` says what each rule is, `workspace` reads what it looks at, and `broken` shows that it can fail.

mod broken;
mod rules;
mod workspace;

use std::env;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use workspace::{Source, Workspace};

/// Fails with every line that a rule wrote.
#[track_caller]
fn check(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn crates_know_only_the_crates_that_architecture_md_lists() -> Result<()> {
    let workspace = Workspace::read()?;
    let arrows = rules::Arrows::parse(&workspace.text("ARCHITECTURE.md")?)?;
    check(&rules::unlisted_arrows(&workspace.graph, &arrows));
    Ok(())
}

#[test]
fn crates_without_candle_build_without_candle() -> Result<()> {
    check(&rules::candle_where_none_belongs(&Workspace::read()?.graph));
    Ok(())
}

#[test]
fn the_abi_depends_on_nothing() -> Result<()> {
    check(&rules::dependencies_of_the_abi(&Workspace::read()?.graph));
    Ok(())
}

#[test]
fn a_plugin_builds_without_procedural_macros() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package=keros-plugin", "--edges=normal,build"])
        .args(["--prefix=none", "--offline"])
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let tree = String::from_utf8_lossy(&output.stdout);
    ensure!(tree.contains("keros-callbacks"), "{tree}");
    let macros = tree.lines().filter(|line| line.contains("(proc-macro)"));
    let told: Vec<String> = macros
        .map(|line| format!("keros-plugin takes long to build because of {line}: do without it"))
        .collect();
    check(&told);
    Ok(())
}

#[test]
fn members_take_versions_lints_and_licence_from_the_workspace() -> Result<()> {
    check(&rules::own_versions(&Workspace::read()?.manifests()?));
    Ok(())
}

#[test]
fn dependencies_build_with_the_rust_version_we_promise() -> Result<()> {
    check(&rules::dependencies_too_new(&Workspace::read()?.graph));
    Ok(())
}

#[test]
fn the_readme_states_the_rust_version_we_promise() -> Result<()> {
    let workspace = Workspace::read()?;
    let readme = workspace.text("README.md")?;
    check(&rules::rust_version_unsaid(&workspace.graph, &readme));
    Ok(())
}

#[test]
fn the_guide_for_users_of_keras_lists_every_layer_loss_metric_and_optimizer() -> Result<()> {
    let workspace = Workspace::read()?;
    let list = |module: &str| -> Result<Source> {
        let path = format!("crates/keros-nn/src/{module}/mod.rs");
        let text = workspace.text(&path)?;
        Ok(Source { path, text })
    };
    let modules = ["layers", "losses", "metrics", "optimizers"];
    let lists: Vec<Source> = modules.into_iter().map(list).collect::<Result<_>>()?;
    let page = workspace.text("docs/from-keras.md")?;
    check(&rules::classes_untold(&lists, &page));
    Ok(())
}

#[test]
fn only_keros_tensor_asks_for_cuda() -> Result<()> {
    check(&rules::cuda_elsewhere(&Workspace::read()?.sources("rs")?));
    Ok(())
}

#[test]
fn every_source_file_says_why_it_exists() -> Result<()> {
    check(&rules::no_module_comment(
        &Workspace::read()?.sources("rs")?,
    ));
    Ok(())
}

#[test]
fn a_test_that_is_not_run_says_so_where_it_is_seen() -> Result<()> {
    check(&rules::told_to_nobody(&Workspace::read()?.sources("rs")?));
    Ok(())
}

#[test]
fn scripts_in_python_use_no_name_that_nobody_defines() -> Result<()> {
    match rules::names_undefined(&Workspace::read()?.sources("py")?)? {
        Some(violations) => check(&violations),
        None => {
            let _ = writeln!(
                std::io::stderr(),
                "not run: there is no python3 to read scripts; see CONTRIBUTING.md"
            );
        }
    }
    Ok(())
}

#[test]
fn crates_have_their_licences_and_tell_what_they_bring() -> Result<()> {
    let workspace = Workspace::read()?;
    check(&rules::fronts_untold(
        &workspace.graph,
        &workspace.fronts()?,
    ));
    Ok(())
}

#[test]
fn plugins_tell_how_to_configure_and_build_them() -> Result<()> {
    let plugins = Workspace::read()?.plugins()?;
    ensure!(
        plugins.iter().any(|plugin| plugin.is_member),
        "no plugin is a member of the workspace: is the test looking?"
    );
    check(&rules::plugins_untold(&plugins));
    Ok(())
}

#[test]
fn packages_that_stand_alone_have_the_versions_of_the_workspace() -> Result<()> {
    let (ours, theirs) = Workspace::read()?.locks()?;
    check(&rules::versions_untested(&ours, &theirs));
    Ok(())
}
