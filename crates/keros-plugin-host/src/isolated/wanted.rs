//! The first message of a process, checked: whether it can be talked to, and what it wants to be told.

use super::error::IsolateError;
use super::wire::{Hello, WIRE_MAJOR, WIRE_MINOR};
use crate::info::is_id;
use keros_callbacks::{EventKind, EventSet};

/// What a process wants to be told, checked.
pub(super) struct Wanted {
    pub(super) events: EventSet,
    pub(super) logs: EventSet,
}

impl Wanted {
    pub(super) fn check(hello: &Hello, program: &str) -> Result<Wanted, IsolateError> {
        if hello.wire.major != WIRE_MAJOR {
            return Err(IsolateError::Major {
                program: program.to_owned(),
                found: hello.wire.major,
            });
        }
        let wrong = |field, expected, found: &str| IsolateError::Hello {
            program: program.to_owned(),
            field,
            expected,
            found: format!("{found:?}"),
        };
        if !is_id(&hello.id) {
            let expected = "lower-case letters, digits, `-`, `_` and `.`";
            return Err(wrong("id", expected, &hello.id));
        }
        if hello.version.is_empty() {
            return Err(wrong("version", "a text", ""));
        }
        let set = |field, names: &[String]| {
            let mut kinds = Vec::new();
            for name in names {
                match EventKind::ALL.into_iter().find(|kind| kind.name() == name) {
                    Some(kind) => kinds.push(kind),
                    // A later version has more events.
                    None if hello.wire.minor > WIRE_MINOR => {}
                    None => return Err(wrong(field, "names of events", name)),
                }
            }
            Ok(EventSet::of(&kinds))
        };
        let events = set("events", &hello.events)?;
        let logs = match &hello.logs {
            Some(names) => set("logs", names)?,
            None => events,
        };
        Ok(Wanted { events, logs })
    }
}
