//! With the feature `cuda`, compiles the kernels for GPUs: each `.cu` file under `src/cuda` to PTX, which the driver
//! of the machine translates further when a module is first used.
//!
//! `CUDA_COMPUTE_CAP` names the oldest GPU that is to be served, such as `80`; without it nvidia-smi is asked. It is
//! the variable that candle's kernels take.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    compile();
}

#[cfg(feature = "cuda")]
fn compile() {
    println!("cargo::rerun-if-changed=src/cuda");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    let list = std::path::Path::new(&folder).join("modules.rs");
    let builder = cudaforge::KernelBuilder::new()
        .source_dir("src/cuda")
        .watch(["src/cuda"])
        .arg("-std=c++17")
        .arg("-O3")
        // Otherwise the same formula could be rounded in two ways, where a loop is unrolled and where it is not.
        .arg("--fmad=false");
    // GPUs without its instructions never load it.
    let builder = match builder.get_compute_cap() {
        Some(capability) if capability < 80 => {
            builder.with_compute_override_arch("weight_gradient.cu", "80")
        }
        _ => builder,
    };
    let compiled = builder.build_ptx().and_then(|modules| modules.write(&list));
    if let Err(error) = compiled {
        // The one way in which a build script can refuse.
        println!("cargo::error=compiling the kernels for GPUs: {error}");
    }
}
