//! Any bytes are the file of a plugin, or an error.

/// Panics if the promise is broken.
pub(crate) fn target(bytes: &[u8]) {
    match keros_plugin_host::inspect_bytes(bytes) {
        Ok(info) => assert!(!info.id.is_empty() && !info.version.is_empty()),
        Err(error) => assert!(error.to_string().contains("<bytes>"), "{error}"),
    }
}
