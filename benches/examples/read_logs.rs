//! The callback of the suite `plugin` as a library to be loaded. The suite builds it by itself.

use keros_benches::ReadLogs;
use keros_plugin::{BoxError, NoConfig};

keros_plugin::export_plugin!(|_: NoConfig| Ok::<_, BoxError>(ReadLogs::default()), id: "read-logs");
