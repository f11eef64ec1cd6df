//! A plugin whose file is loaded and whose record is found good.

use crate::bridge::{self, Bridge};
use crate::callback::{CREATE, LoadedCallback};
use crate::error::{PluginError, Status};
use crate::file;
use crate::info::{Head, PluginInfo};
use crate::inspect;
use crate::instance::table;
use crate::private_copy;
use keros_abi::{
    KEROS_EXT_SCHEMA, KEROS_EXT_SELF_TEST, KEROS_OK, SYMBOL, keros_plugin_module, keros_schema,
    keros_self_test, keros_str,
};
use std::ffi::c_void;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

/// A loaded plugin, of which instances can be made.
pub struct Plugin {
    path: PathBuf,
    module: keros_plugin_module,
    info: PluginInfo,
}

/// A library loaded from bytes.
struct Loaded {
    sha256: [u8; 32],
    module: Record,
}

struct Record(*const keros_plugin_module);

// SAFETY: it points to a constant of a library that stays loaded.
unsafe impl Send for Record {}

/// What was loaded from bytes, for good.
static LOADED: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

impl Plugin {
    /// Loads the dynamic library at `path`, for good, after [`inspect`](crate::inspect()) has found that
    /// it is a plugin this host can use: of anything else no code is run. Loading the same file again
    /// gives the same library.
    ///
    /// A relative path is relative to the current directory; no folder is searched. The system opens
    /// the file again by its path, so where others can write to the folder, use an
    /// [`AllowList`](crate::AllowList).
    ///
    /// # Errors
    /// A [`PluginError`] that tells what is wrong with the file or with what it exports.
    pub fn load(path: impl AsRef<Path>) -> Result<Arc<Plugin>, PluginError> {
        let path = file::absolute(path.as_ref())?;
        inspect::check(&path, &file::read(&path)?)?;
        let module = symbol(&path, &path)?;
        // SAFETY: a symbol of this name is such a record, by keros.h; its library stays loaded.
        unsafe { Plugin::check(path, module) }
    }

    /// Loads these bytes of the file at `path`; the same ones again give the same library.
    pub(crate) fn load_bytes(
        path: &Path,
        bytes: &[u8],
        sha256: [u8; 32],
    ) -> Result<Arc<Plugin>, PluginError> {
        inspect::check(path, bytes)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.iter().find(|known| known.sha256 == sha256);
        let module = match known {
            Some(known) => known.module.0,
            None => {
                let copy = private_copy::make(path, bytes);
                let copy = copy.map_err(|source| PluginError::Copy {
                    path: path.to_owned(),
                    source,
                })?;
                let module = symbol(path, &copy)?;
                loaded.push(Loaded {
                    sha256,
                    module: Record(module),
                });
                module
            }
        };
        // SAFETY: a symbol of this name is such a record, by keros.h; its library stays loaded.
        unsafe { Plugin::check(path.to_owned(), module) }
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
        // SAFETY: in every version of the record its first fields are there.
        let head = unsafe { std::slice::from_raw_parts(module.cast::<u8>(), Head::BYTES) };
        Head::read(&path, head)?.check(&path)?;
        // SAFETY: the record is at least as large as ours.
        let bytes =
            unsafe { std::slice::from_raw_parts(module.cast::<u8>(), PluginInfo::RECORD_BYTES) };
        let info = PluginInfo::read(&path, bytes)?;
        info.check_host(&path)?;
        // SAFETY: as before; whatever the functions are, they are pointers that may be null.
        let module = unsafe { ptr::read_unaligned(module) };
        if module.create.is_none() {
            return Err(PluginError::NullFunction {
                path,
                id: info.id,
                function: "create",
            });
        }
        Ok(Arc::new(Plugin { path, module, info }))
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

    /// What it tells about itself.
    #[must_use]
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Its identity, such as `csv-logger`; also the name of its callbacks.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// Its own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.info.version
    }

    /// Who made it; may be empty.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.info.vendor
    }

    /// Its licence, as an SPDX expression; may be empty.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.info.license
    }

    /// What it does; may be empty.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.info.summary
    }

    /// How it was built; may be empty.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.info.build
    }

    /// Major and minor version of the ABI it was built for.
    #[must_use]
    pub fn abi(&self) -> (u32, u32) {
        self.info.abi
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
            .field("id", &self.info.id)
            .field("version", &self.info.version)
            .field("abi", &self.abi())
            .finish_non_exhaustive()
    }
}

/// Loads the library of the plugin `path` from the file `from`, for good, and finds its record.
fn symbol(path: &Path, from: &Path) -> Result<*const keros_plugin_module, PluginError> {
    #[cfg(unix)]
    // SAFETY: this runs the library's initialization; whoever named the file trusts it.
    let opened = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // NOW: what is missing is an error here and not a crash in the middle of a training. LOCAL:
        // two plugins with functions of one name do not meet.
        Library::open(Some(from), RTLD_NOW | RTLD_LOCAL)
    };
    #[cfg(windows)]
    // SAFETY: this runs the library's initialization; whoever named the file trusts it.
    let opened = unsafe {
        use libloading::os::windows::{
            LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, Library,
        };
        // The libraries it needs come from its own folder or the system's, never the current one.
        let folders = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
        Library::load_with_flags(from, folders)
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
