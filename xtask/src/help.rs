//! The help of each command. A test looks whether that of `bench` knows every option, peer, model and precision.

pub(crate) const HELP: &str = "\
The developer's tool of keros.

Usage: cargo xtask <COMMAND>

Commands:
  demo [-- ARGS]         Train the image classifier with a loaded plugin
  test                   Check everything CI checks, the cheapest first
  standalone             Test the packages of examples/standalone
  fault                  Kill a training at random moments and go on with it
  fuzz TARGET [--runs N] Fuzz a reader of files
  miri                   Check the unsafe code of plugins with Miri
  cuda-check [--emulate] Compile the code for GPUs, and run it on an emulated one
  bench SUITE [ARGS]     Run one suite of benchmarks, or `all`
  bench --chart NAME     Make the page and the chart of recorded benchmarks anew
  typos                  Look for misspelt words
  deny [--advisories]    Check licences, versions and sources of dependencies, or advisories
  features [CRATE]       Check every crate with each pair of its features
  semver                 Look for API changes that need a new version
  release --dry-run      Say what a release would publish
  plugin check PATH      Tell whether a file is a valid plugin, and why not
  plugin inspect PATH    Show what a plugin's file tells, and run nothing of it
  plugin new NAME        Make a plugin that builds and passes its test

`cargo xtask <COMMAND> --help` says more about a command.
";

pub(crate) const DEMO: &str = "\
Builds the csv-logger plugin and the fashion_mnist example in release, and runs the example with the plugin loaded.

Usage: cargo xtask demo [-- ARGS]

ARGS go to fashion_mnist (`cargo xtask demo -- --help` lists them).
Without `--out DIR` among them the results go to target/demo.
The plugin writes plugin.csv into the same folder; a `--plugin` of yours is loaded beside it.
";

pub(crate) const TEST: &str = "\
Checks everything CI checks, the cheapest first, and stops at the first step that fails:
format, misspelt words and licences where their tools are installed, house rules, lints, plugins, tests, doctests, docs, packages that stand alone.

Usage: cargo xtask test
";

pub(crate) const STANDALONE: &str = "\
Builds and tests each package of examples/standalone, a workspace of its own, and has the plugin among them checked.
What is built is in target/standalone.

Usage: cargo xtask standalone
";

pub(crate) const FAULT: &str = "\
Kills the fashion_mnist example 20 times at random moments, some of them while it writes a checkpoint, goes on with it,
and checks that weights and history end as those of a training that was left alone.

Usage: cargo xtask fault
";

pub(crate) const FUZZ: &str = "\
Builds a fuzzer of the package in fuzz/ with libFuzzer (this needs a C++ compiler) and runs it on the files of its
crate's tests and on mutations of them. Inputs that break the target are kept in target/fuzz/found, and inputs that reach
new code in target/fuzz/corpus, where the next run goes on.

Usage: cargo xtask fuzz TARGET [--runs N] [-- ARGS]

TARGET is `csv`, `decode`, `decode-turbojpeg` or `plugin`. N is a million unless given.
ARGS go to libFuzzer (`-- -help=1` lists them).
";

pub(crate) const MIRI: &str = "\
Runs the tests of keros-abi and keros-plugin in Miri, which finds undefined behaviour of their unsafe code. This needs
rustup and its nightly toolchain with the components miri and rust-src.

Usage: cargo xtask miri
";

pub(crate) const TYPOS: &str = "\
Looks for misspelt words in every file, with typos-cli. typos.toml names what it takes for words.

Usage: cargo xtask typos
";

pub(crate) const DENY: &str = "\
Looks with cargo-deny at the packages keros is built from: whether their licences, versions and sources are those that
deny.toml accepts.

Usage: cargo xtask deny [--advisories]

With `--advisories` it looks for known weaknesses instead. Their database is fetched, which needs the network.
";

pub(crate) const FEATURES: &str = "\
Runs the lints with cargo-hack on every crate that has features: without any, with each, and with each pair of them.

Usage: cargo xtask features [CRATE]

With the name of a crate it looks at that one.
";

pub(crate) const SEMVER: &str = "\
Compares the public interfaces of the crates with those of a revision, with cargo-semver-checks, and names the changes
that need a new version.

Usage: cargo xtask semver [--baseline-rev REV] [-- ARGS]

REV is the last tag if not given. ARGS go to cargo-semver-checks: `-- --package keros-abi` looks at one crate.
";

pub(crate) const CUDA_CHECK: &str = "\
Compiles and links all targets with the features cuda and cudnn where a CUDA toolkit with cuDNN is at hand, and says so
where it is not. A GPU or a driver is not needed: the programs are linked with an emulated driver, which is compiled
first. This needs a C++ compiler, on Linux.

Usage: cargo xtask cuda-check [--emulate]

With `--emulate` the tests of tensors, networks and trainings also run, on an emulated GPU. This checks results and
arguments, not speed. It needs Linux on x86-64, and fails where there is no toolkit.
";

pub(crate) const RELEASE: &str = "\
Packs every crate that would be published, in the order in which the registry would need them, and says what is missing.
A warning of cargo or a package without its README or licences is a failure. Nothing is built, and nothing is sent.

Usage: cargo xtask release --dry-run
";

pub(crate) const BENCH: &str = "\
Runs one suite of benchmarks of the package keros-benches, or all of them.

Usage: cargo xtask bench SUITE [ARGS]
       cargo xtask bench --chart NAME

SUITE is the name of a file or folder in benches/benches; a wrong name lists the ones that exist. `all` runs every
suite and ends with one table; a suite that fails is named at the end. What was measured is in
target/bench/results.json, too. ARGS, with or without `--` before them, are:
  --save NAME      Record the results in benches/recorded, beside those of other suites recorded there under NAME
  --compare NAME   Show the results beside a record and mark what changed by more than the noise
  --features keros/turbojpeg
                   Goes to cargo
All others go to the suite, and all suites know those of criterion (`cargo xtask bench SUITE -- --help` lists them).
`--chart` makes benches/recorded/NAME.md anew, and NAME.svg if a suite was run with `--against`; `--save` does it too.

Some suites also run keros in turn with other libraries:
  --against PEERS  Names separated by commas
                   train: candle, keras-tf, keras-jax, torch, torch-compiled
                   augment: cv2, keras, albumentations, torchvision
                   decode: PIL, PIL-draft, cv2, torchvision
                   prefetch: keras, torchvision
                   all: each suite runs by itself, then with those of PEERS it knows
  --rounds N       Turns; 3 unless given
  --python PATH    The interpreter of the peers; else KEROS_BENCH_PYTHON, else python3
  --python PEER=PATH
                   That of one peer; can be repeated
  --json           Not for `all`: lines of JSON instead of the table, also without peers
  --images DIR     For decode: JPEG files of yours, instead of made-up ones

With `--against`, `--model` or `--device`, `bench train` runs whole trainings, each in a process of its own:
  --model mnist_convnet|cifar10_cnn|mlp|resnet18
                   Can be repeated; mnist_convnet, cifar10_cnn, and mlp on the CPU or resnet18 on a GPU unless given
  --device cpu|cuda|cuda:N
                   cpu unless given; cuda builds with the feature cudnn, and its peers are torch and torch-compiled
  --batch-size N   128 unless given; can be repeated
  --epochs N       3 unless given; of several the first does not count for images/s
  --images N       Images of an epoch
  --augment        Images augmented by workers, for keros alone
  --precision float32|tf32|mixed_bfloat16|mixed_float16
                   For GPUs: tf32 unless given; can be repeated
  --no-cuda-graphs For GPUs: keros and torch-compiled start kernels one by one, where else what repeats is a CUDA graph
  --cudnn-benchmark
                   For GPUs: keros measures cuDNN's algorithms, as torch and torch-compiled always do
";

pub(crate) const PLUGIN: &str = "\
Checks a plugin, shows what its file tells, or makes a plugin.

Usage: cargo xtask plugin check|inspect PATH [--config JSON] [--limit-s N]
       cargo xtask plugin new NAME [--c] [--path DIR]

`check` inspects the file without running it. Then a process of its own loads it, reads its schema, makes an instance
with the configuration JSON, runs its self-test, sends it every event of a short training, has it tell its state and go
on from it, and ends it; no call may take longer than N seconds, 10 if not given. A crash or a hang is a finding, but
the plugin runs with all rights of its user. The exit code is 0 for a valid plugin, 1 for another file.

`inspect` runs nothing of the file.

`cargo xtask plugin new --help` says more about `new`.
";

pub(crate) const PLUGIN_NEW: &str = "\
Makes a plugin that builds and passes its test.

Usage: cargo xtask plugin new NAME [--c] [--path DIR]

NAME is of lower-case letters, digits and single hyphens.
The plugin is plugins/NAME, a member of this workspace; or DIR/NAME, a package of its own that uses this checkout.
With `--c` it is in C, with a Makefile.
";

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::{Context, Result, ensure};
    use keros_bench_record::peers;

    use super::BENCH;
    use crate::cargo;

    /// What stands between `before` and the next quotation mark, wherever it does.
    fn quoted(file: &str, before: &str) -> Result<Vec<String>> {
        let path = cargo::root().join("benches").join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        let parts = text.split(before).skip(1);
        let found: Vec<String> = parts
            .filter_map(|part| part.split_once('"'))
            .map(|(name, _)| name.to_owned())
            .collect();
        ensure!(!found.is_empty(), "{file} has nothing after `{before}`");
        Ok(found)
    }

    #[test]
    fn the_help_of_bench_knows_every_option_peer_model_and_precision() -> Result<()> {
        // What cargo gives, and what a contest says to the processes it starts.
        const INNER: [&str; 2] = ["bench", "side"];
        for file in ["benches/train/request.rs", "src/contest.rs"] {
            for option in quoted(file, "Arg::Long(\"")? {
                let known = BENCH.contains(&format!("  --{option}"));
                assert!(known || INNER.contains(&option.as_str()), "--{option}");
            }
        }
        let mut lines = BENCH.lines().map(str::trim_start);
        let mut words = |label: &str| -> Vec<&str> {
            let line = lines.find_map(|line| line.strip_prefix(label));
            line.unwrap_or_default().split([',', ' ', '|']).collect()
        };
        for suite in ["train", "augment", "decode", "prefetch"] {
            let told = words(&format!("{suite}: "));
            for peer in peers(suite) {
                assert!(told.contains(&peer.name), "{} in {suite}", peer.name);
            }
        }
        for (option, file) in [
            ("--model ", "benches/train/model.rs"),
            ("--precision ", "benches/train/how.rs"),
        ] {
            let told = words(option);
            for name in quoted(file, "=> \"")? {
                assert!(told.contains(&name.as_str()), "{option}{name}");
            }
        }
        Ok(())
    }
}
