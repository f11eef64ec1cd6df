//! Looks at a plugin's file before the dynamic linker does, which trusts what it is given: it maps a
//! cut-off file as far as the headers say and the process dies by SIGBUS.

use crate::error::PluginError;
use std::io;
use std::path::{Path, PathBuf};

/// The absolute path of a file that can be given to the dynamic linker.
pub(crate) fn check(path: &Path) -> Result<PathBuf, PluginError> {
    let read = |source| PluginError::Read {
        path: path.to_owned(),
        source,
    };
    // A path without a slash would make the dynamic linker search its own folders.
    let path = std::path::absolute(path).map_err(read)?;
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PluginError::Missing { path });
        }
        Err(source) => return Err(PluginError::Read { path, source }),
    };
    if !metadata.is_file() {
        let found = if metadata.is_dir() {
            "a directory"
        } else {
            "something that is neither a file nor a directory"
        };
        return Err(PluginError::NotAFile { path, found });
    }
    #[cfg(target_os = "linux")]
    elf::check(&path, metadata.len())?;
    Ok(path)
}

/// The format of Linux, as far as the dynamic linker reads it without asking.
#[cfg(target_os = "linux")]
mod elf {
    use super::PluginError;
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};
    use std::path::Path;

    const HEADER_BYTES: u64 = 64;
    const SEGMENT_BYTES: u64 = 56;
    const DYNAMIC_LIBRARY: u16 = 3;
    /// `e_machine`, where we know it.
    const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
        Some(62)
    } else if cfg!(target_arch = "aarch64") {
        Some(183)
    } else {
        None
    };
    const BYTE_ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };

    /// Refuses what is no library of this machine, and one whose segments are not all in the file.
    pub(super) fn check(path: &Path, length: u64) -> Result<(), PluginError> {
        let read = |source| PluginError::Read {
            path: path.to_owned(),
            source,
        };
        let refuse = |expected, found| {
            Err(PluginError::NotALibrary {
                path: path.to_owned(),
                expected,
                found,
            })
        };
        let truncated = |expected| {
            Err(PluginError::Truncated {
                path: path.to_owned(),
                expected,
                found: length,
            })
        };

        let mut file = File::open(path).map_err(read)?;
        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        file.by_ref()
            .take(HEADER_BYTES)
            .read_to_end(&mut header)
            .map_err(read)?;
        if !header.starts_with(b"\x7fELF") {
            return refuse("an ELF file", first_bytes(&header));
        }
        if (header.len() as u64) < HEADER_BYTES {
            return truncated(HEADER_BYTES);
        }
        let header = Bytes(&header);
        if header.0[4] != 2 {
            return refuse("64 bits", format!("ELF class {}", header.0[4]));
        }
        if header.0[5] != BYTE_ORDER {
            return refuse("the byte order of this machine", "the other one".to_owned());
        }
        let kind = header.u16(16);
        if kind != DYNAMIC_LIBRARY {
            return refuse(
                "an ELF file of type 3, shared object",
                format!("type {kind}"),
            );
        }
        let machine = header.u16(18);
        if MACHINE.is_some_and(|expected| expected != machine) {
            return refuse(
                "a library for this processor",
                format!("one for ELF machine {machine}"),
            );
        }
        let first = header.u64(32);
        let (bytes, count) = (u64::from(header.u16(54)), u64::from(header.u16(56)));
        if bytes != SEGMENT_BYTES || count == 0 {
            return refuse(
                "an ELF file with segments of 56 bytes",
                format!("{count} of {bytes} bytes"),
            );
        }
        let table = first.saturating_add(bytes * count);
        if table > length {
            return truncated(table);
        }
        file.seek(SeekFrom::Start(first)).map_err(read)?;
        let mut segments = vec![0; (bytes * count) as usize];
        file.read_exact(&mut segments).map_err(read)?;
        let end = segments
            .chunks_exact(SEGMENT_BYTES as usize)
            .map(|segment| Bytes(segment).u64(8).saturating_add(Bytes(segment).u64(32)))
            .max()
            .unwrap_or(0);
        if end > length {
            return truncated(end);
        }
        Ok(())
    }

    fn first_bytes(header: &[u8]) -> String {
        if header.is_empty() {
            return "an empty file".to_owned();
        }
        let some: Vec<String> = header
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("one that begins with the bytes {}", some.join(" "))
    }

    /// Numbers at offsets that are known to be inside.
    struct Bytes<'a>(&'a [u8]);

    impl Bytes<'_> {
        fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&self.0[offset..offset + N]);
            bytes
        }

        fn u16(&self, offset: usize) -> u16 {
            u16::from_ne_bytes(self.array(offset))
        }

        fn u64(&self, offset: usize) -> u64 {
            u64::from_ne_bytes(self.array(offset))
        }
    }
}
