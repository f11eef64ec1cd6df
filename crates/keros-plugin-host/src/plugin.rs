//! A plugin whose file is loaded and whose record is found good.

use crate::bridge::{self, Bridge};
use crate::callback::{CREATE, LoadedCallback};
use crate::error::{PluginError, Status};
use crate::file;
use crate::instance::table;
use keros_abi::{
    KEROS_ABI_MAJOR, KEROS_ABI_MINOR, KEROS_EXT_SCHEMA, KEROS_EXT_SELF_TEST, KEROS_MAGIC, KEROS_OK,
    SYMBOL, keros_plugin_module, keros_schema, keros_self_test, keros_str,
};
use std::ffi::c_void;
use std::fmt;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Arc, PoisonError};

/// A loaded plugin, of which instances can be made.
pub struct Plugin {
    path: PathBuf,
    module: keros_plugin_module,
    texts: Texts,
}

/// The texts of the record, checked.
#[derive(Default)]
struct Texts {
    id: String,
    version: String,
    vendor: String,
    license: String,
    summary: String,
    build: String,
}

impl Plugin {
    /// Loads the dynamic library at `path`, for good, and checks that it is a plugin this host can
    /// use. Loading the same file again gives the same library.
    ///
    /// # Errors
    /// A [`PluginError`] that tells what is wrong with the file or with what it exports.
    pub fn load(path: impl AsRef<Path>) -> Result<Arc<Plugin>, PluginError> {
        let path = file::check(path.as_ref())?;
        let module = symbol(&path)?;
        // SAFETY: a symbol of this name is such a record, by keros.h; its library stays loaded.
        unsafe { Plugin::check(path, module) }
    }

    /// A plugin that is part of this program, such as a constant of
    /// [`plugin_module!`](https://docs.rs/keros-plugin), through the same ABI as a loaded one.
    ///
    /// # Safety
    /// The functions of the record do what keros.h asks of a plugin.
    ///
    /// # Errors
    /// A [`PluginError`] that tells what is wrong with the record.
    pub unsafe fn from_module(
        module: &'static keros_plugin_module,
    ) -> Result<Arc<Plugin>, PluginError> {
        // SAFETY: a reference is good for reading, and the caller answers for the functions.
        unsafe { Plugin::check(PathBuf::from("<in this program>"), module) }
    }

    /// # Safety
    /// `module` is the address of a record of keros.h, maybe of another version, for ever.
    unsafe fn check(
        path: PathBuf,
        module: *const keros_plugin_module,
    ) -> Result<Arc<Plugin>, PluginError> {
        /// Reads a number that may be there without the rest.
        macro_rules! peek {
            ($field:ident) => {{
                let field = module.wrapping_byte_add(offset_of!(keros_plugin_module, $field));
                // SAFETY: in every version of the record the first four fields are there.
                unsafe { ptr::read_unaligned(field.cast()) }
            }};
        }
        let magic: u64 = peek!(magic);
        if magic != KEROS_MAGIC {
            return Err(PluginError::Magic { path, found: magic });
        }
        let major: u32 = peek!(abi_major);
        if major != KEROS_ABI_MAJOR {
            return Err(PluginError::Major { path, found: major });
        }
        let size: u32 = peek!(struct_size);
        let expected = size_of::<keros_plugin_module>();
        if (size as usize) < expected {
            let found = size;
            return Err(PluginError::Record {
                path,
                expected,
                found,
            });
        }
        // SAFETY: the record is at least as large as ours.
        let module = unsafe { ptr::read_unaligned(module) };
        if module.min_host_minor > KEROS_ABI_MINOR {
            let found = module.min_host_minor;
            return Err(PluginError::NeedsNewerHost { path, found });
        }
        let texts = Texts::check(&path, &module)?;
        if module.create.is_none() {
            return Err(PluginError::NullFunction {
                path,
                id: texts.id,
                function: "create",
            });
        }
        Ok(Arc::new(Plugin {
            path,
            module,
            texts,
        }))
    }

    /// Makes an instance configured by a JSON text; the empty text stands for `{}`.
    ///
    /// # Errors
    /// When the plugin refuses, with its reason, or the instance it makes cannot be used.
    pub fn callback(self: &Arc<Self>, config_json: &str) -> Result<LoadedCallback, PluginError> {
        LoadedCallback::create(Arc::clone(self), config_json)
    }

    /// The absolute path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity, such as `csv-logger`; also the name of its callbacks.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.texts.id
    }

    /// Its own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.texts.version
    }

    /// Who made it; may be empty.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.texts.vendor
    }

    /// Its licence, as an SPDX expression; may be empty.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.texts.license
    }

    /// What it does; may be empty.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.texts.summary
    }

    /// How it was built; may be empty.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.texts.build
    }

    /// Major and minor version of the ABI it was built for.
    #[must_use]
    pub fn abi(&self) -> (u32, u32) {
        (self.module.abi_major, self.module.abi_minor)
    }

    /// The plugin's extension called `id` that needs no instance. What it points to is told by the
    /// extension's description; it is valid for ever.
    #[must_use]
    pub fn extension(&self, id: &str) -> Option<NonNull<c_void>> {
        // SAFETY: keros.h allows the call at any time; the text lives during it.
        let found = unsafe { self.module.extension?(keros_str::new(id)) };
        NonNull::new(found.cast_mut())
    }

    /// What the configuration may be, as a JSON Schema, if the plugin tells.
    ///
    /// # Errors
    /// [`PluginError::Schema`].
    pub fn config_schema(&self) -> Result<Option<&str>, PluginError> {
        // SAFETY: keros.h gives this extension the type.
        let schema: Option<keros_schema> = unsafe { table(self.extension(KEROS_EXT_SCHEMA)) };
        let Some(schema) = schema else {
            return Ok(None);
        };
        // SAFETY: keros.h asks for a text that is valid for ever.
        let text = unsafe { bridge::text(schema.json) };
        let id = self.id().to_owned();
        text.map(Some).ok_or(PluginError::Schema { id })
    }

    /// Has the plugin test itself; `false` if it has no such test.
    ///
    /// # Errors
    /// [`PluginError::SelfTest`], with what is wrong.
    pub fn self_test(&self) -> Result<bool, PluginError> {
        // SAFETY: keros.h gives this extension the type.
        let test: Option<keros_self_test> = unsafe { table(self.extension(KEROS_EXT_SELF_TEST)) };
        let Some(run) = test.and_then(|test| test.run) else {
            return Ok(false);
        };
        let bridge = Bridge::new();
        let _alone = CREATE.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, left) = bridge.during(None, || {
            // SAFETY: as keros.h asks: the host lives during the call, which does not overlap another.
            unsafe { run(Bridge::host(&bridge)) }
        });
        if status == KEROS_OK {
            return Ok(true);
        }
        Err(PluginError::SelfTest {
            id: self.id().to_owned(),
            status: Status(status),
            text: left.and_then(|left| left.reason).unwrap_or_default(),
        })
    }

    pub(crate) fn module(&self) -> &keros_plugin_module {
        &self.module
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("path", &self.path)
            .field("id", &self.texts.id)
            .field("version", &self.texts.version)
            .field("abi", &self.abi())
            .finish_non_exhaustive()
    }
}

impl Texts {
    fn check(path: &Path, module: &keros_plugin_module) -> Result<Texts, PluginError> {
        let wrong = |field, expected, found| PluginError::Text {
            path: path.to_owned(),
            field,
            expected,
            found,
        };
        let text = |field, bytes: &[u8]| -> Result<String, PluginError> {
            let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
                let found = format!("{} bytes without one", bytes.len());
                return Err(wrong(field, "a zero at the end", found));
            };
            match std::str::from_utf8(&bytes[..end]) {
                Ok(text) => Ok(text.to_owned()),
                Err(error) => Err(wrong(field, "UTF-8", error.to_string())),
            }
        };
        let texts = Texts {
            id: text("id", &module.id)?,
            version: text("version", &module.version)?,
            vendor: text("vendor", &module.vendor)?,
            license: text("license", &module.license)?,
            summary: text("summary", &module.summary)?,
            build: text("build", &module.build)?,
        };
        if !is_id(&texts.id) {
            let expected = "lower-case letters, digits, `-`, `_` and `.`";
            return Err(wrong("id", expected, format!("{:?}", texts.id)));
        }
        if texts.version.is_empty() {
            return Err(wrong("version", "a text", "none".to_owned()));
        }
        Ok(texts)
    }
}

/// Whether a text can be the identity of a plugin.
pub(crate) fn is_id(text: &str) -> bool {
    let in_id = |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    !text.is_empty() && text.chars().all(in_id)
}

/// Loads the library, for good, and finds its record.
fn symbol(path: &Path) -> Result<*const keros_plugin_module, PluginError> {
    #[cfg(unix)]
    // SAFETY: this runs the library's initialization; whoever named the file trusts it.
    let opened = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // NOW: what is missing is an error here and not a crash in the middle of a training. LOCAL:
        // two plugins with functions of one name do not meet.
        Library::open(Some(path), RTLD_NOW | RTLD_LOCAL)
    };
    #[cfg(windows)]
    // SAFETY: this runs the library's initialization; whoever named the file trusts it.
    let opened = unsafe {
        use libloading::os::windows::{
            LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, Library,
        };
        // The libraries it needs come from its own folder or the system's, never the current one.
        let folders = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
        Library::load_with_flags(path, folders)
    };
    let library = opened.map_err(|error| PluginError::Link {
        path: path.to_owned(),
        // The error itself says no more than that it failed.
        reason: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string),
    })?;
    // SAFETY: the symbol's address is used as a pointer, whatever it is.
    let found = unsafe { library.get::<*const keros_plugin_module>(SYMBOL) }
        .ok()
        .map(|symbol| *symbol);
    // Never unloaded: see the documentation of the crate.
    std::mem::forget(library);
    match found {
        Some(module) if !module.is_null() => Ok(module),
        _ => Err(PluginError::NotAPlugin {
            path: path.to_owned(),
        }),
    }
}
