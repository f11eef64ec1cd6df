//! Worker processes: what a program does so that its batches can be made in other processes.
//!
//! With [`use_multiprocessing`](crate::LoaderOptions::use_multiprocessing) each worker is a process
//! of its own. A decoder that crashes then ends that process and not the training: the batch is
//! tried once more in a new process, and if that one dies too, the error names the file. Threads
//! make the same batches with less memory and less copying; take processes for code that may crash.
//!
//! A worker is the program itself, started again, which is why the program has to ask first thing in
//! `main`, before it looks at its arguments or prints anything, whether it is one:
//!
//! ```
//! use keros_data::worker;
//!
//! fn main() {
//!     worker::serve_if_asked();
//!     // the program
//! }
//! ```
//!
//! In a worker the function does not return. A program that has not called it is refused
//! `use_multiprocessing` before anything is started.
//!
//! The sequences of this crate need no more: [`ArraySequence`],
//! [`ImageFlow`] (unless it has a function of the user's) and
//! [`ImageFileFlow`] tell the worker what they are. A sequence of your own
//! tells it by [`Sequence::recipe`], and [`Registry`] says how it is made
//! again:
//!
//! ```
//! use keros_data::{Array, Batch, DataError, Recipe, Sequence, worker};
//!
//! struct Multiples {
//!     of: i64,
//! }
//!
//! impl Sequence for Multiples {
//!     fn len(&self) -> usize {
//!         100
//!     }
//!
//!     fn batch(&self, _epoch: u64, index: usize) -> Result<Batch, DataError> {
//!         let first = self.of * index as i64;
//!         Ok(Batch::inputs_only(Array::from_vec(&[1], vec![first])?))
//!     }
//!
//!     fn recipe(&self) -> Result<Recipe<'_>, DataError> {
//!         // The description can be anything that serde can write, also `Arrays`.
//!         Ok(Recipe::new("multiples", &self.of))
//!     }
//! }
//!
//! fn main() {
//!     worker::Registry::new()
//!         .with("multiples", |of: i64| Ok(Multiples { of }))
//!         .serve_if_asked();
//!     // the program
//! }
//! ```
//!
//! # What passes how
//! The description of the sequence and the arrays of the batches pass through shared memory, which
//! has no name in the file system on Linux and is gone with the processes; elsewhere it is a
//! temporary file. A worker has two places for batches and fills the second while the first is
//! read, so it is never more than one batch ahead of its reader. Small messages pass through pipes.
//!
//! # Ends
//! A worker ends at once when the process that started it is gone, however that ended, and in the
//! middle of a batch too. What a worker prints appears where the errors of the program appear.
//!
//! # Costs
//! A worker holds a copy of what the sequence has in memory, and a batch is copied twice.

mod arrays;
mod process;
mod protocol;
mod serve;
mod shared;
mod status;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ArraySequence, DataError, ImageFileFlow, ImageFlow, Sequence};

pub(crate) use arrays::bytes_of;
pub(crate) use process::{Answer, Failure, Process};
pub(crate) use shared::Segment;
pub(crate) use status::WorkedOn;

/// What another process needs to make a sequence again: a name that its [`Registry`] knows, and a
/// description.
pub struct Recipe<'a> {
    name: &'static str,
    write: Box<WriteTo<'a>>,
}

type WriteTo<'a> =
    dyn Fn(&mut dyn Write) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

impl<'a> Recipe<'a> {
    /// A description for the sequence of this name. It is written when a worker starts.
    pub fn new(name: &'static str, description: &'a impl Serialize) -> Self {
        Self {
            name,
            write: Box::new(|out| Ok(ciborium::into_writer(description, out)?)),
        }
    }

    /// The name in the registry.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the description into shared memory, when this program can serve.
    ///
    /// # Errors
    /// The program does not serve as a worker, or its registry does not know the name; the
    /// description cannot be written.
    pub(crate) fn pack(&self) -> Result<Segment, DataError> {
        let Some(registry) = SERVES.get() else {
            return Err(DataError::NotServing);
        };
        if registry.find(self.name).is_none() {
            return Err(DataError::NotRegistered { name: self.name });
        }
        let segment = Segment::new().map_err(DataError::shared_memory)?;
        let mut out = std::io::BufWriter::with_capacity(1 << 16, segment.file());
        (self.write)(&mut out).map_err(DataError::description)?;
        out.flush().map_err(DataError::shared_memory)?;
        drop(out);
        Ok(segment)
    }
}

impl fmt::Debug for Recipe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Makes a sequence from the file that describes it.
type Make = dyn Fn(&mut dyn std::io::Read) -> Result<Arc<dyn Sequence>, DataError> + Send + Sync;

/// How the sequences of a program are made in its worker processes.
pub struct Registry {
    known: Vec<(&'static str, Box<Make>)>,
}

/// The registry of this program, once it has said that it serves.
static SERVES: OnceLock<Registry> = OnceLock::new();

impl Registry {
    /// The sequences of this crate.
    pub fn new() -> Self {
        Self { known: Vec::new() }
            .with(ArraySequence::RECIPE, Ok::<ArraySequence, _>)
            .with(ImageFlow::RECIPE, Ok::<ImageFlow, _>)
            .with(ImageFileFlow::RECIPE, Ok::<ImageFileFlow, _>)
    }

    /// Says how a sequence is made from its description: the reverse of
    /// [`Sequence::recipe`]. Of two with one name the last one counts.
    #[must_use]
    pub fn with<D, S>(
        mut self,
        name: &'static str,
        make: impl Fn(D) -> Result<S, DataError> + Send + Sync + 'static,
    ) -> Self
    where
        D: DeserializeOwned,
        S: Sequence + 'static,
    {
        let make = move |file: &mut dyn std::io::Read| {
            let description = ciborium::from_reader(file).map_err(DataError::description)?;
            Ok(Arc::new(make(description)?) as Arc<dyn Sequence>)
        };
        self.known.push((name, Box::new(make)));
        self
    }

    /// If this process was started as a worker, makes batches until it is told to end, and ends it.
    /// Otherwise notes that the program serves, and returns. Call it first thing in `main`.
    pub fn serve_if_asked(self) {
        if serve::is_asked() {
            serve::serve(&self);
        }
        // A second call changes nothing: what a worker knows is decided by the first.
        let _ = SERVES.set(self);
    }

    fn find(&self, name: &str) -> Option<&Make> {
        let known = self.known.iter().rev().find(|(known, _)| *known == name);
        known.map(|(_, make)| make.as_ref())
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.known.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// [`Registry::serve_if_asked`] with the sequences of this crate.
pub fn serve_if_asked() {
    Registry::new().serve_if_asked();
}

/// Notes which sample, and which file if it has one, this worker is about to read, so that the error
/// can name them if the code panics, or the process dies of it. Costs next to nothing.
pub fn working_on(sample: usize, file: Option<&Path>) {
    status::note(sample, file);
}

/// Notes that no sample is being read, so that none is blamed for what comes next.
pub(crate) fn working_on_nothing() {
    status::clear();
}

/// What was noted last on this thread.
pub(crate) fn worked_on() -> WorkedOn {
    status::here()
}
