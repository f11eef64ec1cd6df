//! Reads what a plugin tells about itself from its file, running nothing of it.
//!
//! The bytes may be anything: they are refused, or understood, and never trusted. The dynamic linker
//! does trust what it is given; it maps a cut-off file as far as the headers say and the process dies
//! by SIGBUS. So everything it would map is checked to be there.

use crate::error::PluginError;
use crate::file;
use crate::info::{Head, PluginInfo};
use keros_abi::SYMBOL;
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ExportTarget, NameOrOrdinal};
use object::{Architecture, FileKind, NativeEndian, Object, ObjectKind, ObjectSegment, elf};
use std::path::Path;

/// Reads what the plugin at `path` tells about itself. Nothing of the file is run, so it may be one
/// that nobody trusts; what it tells may then be a lie.
///
/// A plugin that needs a newer host is no error here: see [`PluginInfo::min_host_minor`].
///
/// # Errors
/// A [`PluginError`] that tells what is wrong with the file or with the record in it.
pub fn inspect(path: impl AsRef<Path>) -> Result<PluginInfo, PluginError> {
    let path = file::absolute(path.as_ref())?;
    record(&path, &file::read(&path)?)
}

/// [`inspect()`] for the bytes of a file, which its errors call `<bytes>`.
///
/// # Errors
/// As there.
pub fn inspect_bytes(bytes: &[u8]) -> Result<PluginInfo, PluginError> {
    record(Path::new("<bytes>"), bytes)
}

/// Refuses what is not a plugin for this host.
pub(crate) fn check(path: &Path, bytes: &[u8]) -> Result<PluginInfo, PluginError> {
    let info = record(path, bytes)?;
    info.check_host(path)?;
    Ok(info)
}

fn record(path: &Path, bytes: &[u8]) -> Result<PluginInfo, PluginError> {
    let unreadable = |error: object::Error| PluginError::NotALibrary {
        path: path.to_owned(),
        expected: "a whole one",
        found: error.to_string(),
    };
    check_format(path, bytes)?;
    let library = object::File::parse(bytes).map_err(unreadable)?;
    let mut address = None;
    for export in library.exports().map_err(unreadable)? {
        let export = export.map_err(unreadable)?;
        if let (NameOrOrdinal::Name(name), ExportTarget::Address { address: found }) =
            (export.name(), export.target())
            && symbol_name(name) == SYMBOL.as_bytes()
        {
            address = Some(found);
            break;
        }
    }
    let address = address.ok_or_else(|| PluginError::NotAPlugin {
        path: path.to_owned(),
    })?;
    let read = |size: usize| {
        library
            .segments()
            .find_map(|segment| segment.data_range(address, size as u64).ok().flatten())
            .ok_or_else(|| PluginError::NoRecord {
                path: path.to_owned(),
                expected: size,
            })
    };
    Head::read(path, read(Head::BYTES)?)?.check(path)?;
    PluginInfo::read(path, read(PluginInfo::RECORD_BYTES)?)
}

/// The name in C: Mach-O puts an underscore before it.
fn symbol_name(name: &[u8]) -> &[u8] {
    match name {
        [b'_', name @ ..] if cfg!(target_vendor = "apple") => name,
        name => name,
    }
}

/// Refuses what is no dynamic library of this machine.
fn check_format(path: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let refuse = |expected, found: String| {
        Err(PluginError::NotALibrary {
            path: path.to_owned(),
            expected,
            found,
        })
    };
    let (format, expected) = if cfg!(target_vendor = "apple") {
        (FileKind::MachO64, "a 64-bit Mach-O file")
    } else if cfg!(windows) {
        (FileKind::Pe64, "a 64-bit PE file")
    } else {
        (FileKind::Elf64, "a 64-bit ELF file")
    };
    if format == FileKind::Elf64 && bytes.starts_with(b"\x7fELF") {
        let header = size_of::<elf::FileHeader64<NativeEndian>>() as u64;
        check_length(path, bytes, header)?;
    }
    match FileKind::parse(bytes) {
        Ok(kind) if kind == format => {}
        Ok(kind) => return refuse(expected, format!("one of the kind {kind:?}")),
        Err(_) => return refuse(expected, first_bytes(bytes)),
    }
    if format == FileKind::Elf64 {
        check_elf(path, bytes)?;
    }
    let library = object::File::parse(bytes);
    let library = match library {
        Ok(library) => library,
        Err(error) => return refuse("a whole one", error.to_string()),
    };
    if library.is_little_endian() != cfg!(target_endian = "little") {
        let found = "the other one".to_owned();
        return refuse("the byte order of this machine", found);
    }
    if library.kind() != ObjectKind::Dynamic {
        return refuse("a shared object", format!("{:?}", library.kind()));
    }
    let architecture = library.architecture();
    if HERE.is_some_and(|here| here != architecture) {
        let found = format!("one for {architecture:?}");
        return refuse("a library for this processor", found);
    }
    Ok(())
}

/// This machine's processor, where we know it.
const HERE: Option<Architecture> = if cfg!(target_arch = "x86_64") {
    Some(Architecture::X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(Architecture::Aarch64)
} else if cfg!(target_arch = "riscv64") {
    Some(Architecture::Riscv64)
} else {
    None
};

/// Refuses a file that ends before what the dynamic linker maps, or before its tables.
fn check_elf(path: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let within = |expected| check_length(path, bytes, expected);
    let refuse = |expected, found| {
        Err(PluginError::NotALibrary {
            path: path.to_owned(),
            expected,
            found,
        })
    };
    if bytes.get(5)
        != Some(if cfg!(target_endian = "little") {
            &1
        } else {
            &2
        })
    {
        let found = "the other one".to_owned();
        return refuse("the byte order of this machine", found);
    }
    let Ok(header) = elf::FileHeader64::<NativeEndian>::parse(bytes) else {
        return refuse("an ELF header", "one of another version".to_owned());
    };
    let e = NativeEndian;
    let table = |at: u64, item: u16, count: u16| {
        at.saturating_add(u64::from(item).saturating_mul(u64::from(count)))
    };
    within(table(
        header.e_phoff(e),
        header.e_phentsize(e),
        header.e_phnum(e),
    ))?;
    within(table(
        header.e_shoff(e),
        header.e_shentsize(e),
        header.e_shnum(e),
    ))?;
    let segments = match header.program_headers(e, bytes) {
        Ok(segments) if !segments.is_empty() => segments,
        Ok(_) => return refuse("an ELF file with segments", "none".to_owned()),
        Err(error) => return refuse("an ELF file with segments", error.to_string()),
    };
    for segment in segments {
        within(segment.p_offset(e).saturating_add(segment.p_filesz(e)))?;
    }
    Ok(())
}

fn check_length(path: &Path, bytes: &[u8], expected: u64) -> Result<(), PluginError> {
    let found = bytes.len() as u64;
    if expected <= found {
        return Ok(());
    }
    Err(PluginError::Truncated {
        path: path.to_owned(),
        expected,
        found,
    })
}

fn first_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".to_owned();
    }
    let some: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("one that begins with the bytes {}", some.join(" "))
}
