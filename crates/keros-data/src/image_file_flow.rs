//! Augmented batches of images that are read from files as they are needed.

use std::fs;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use keros_image::{ColorMode, Decoder, Image, ImageParams, ImageShape, Pixels, Resize};
use serde::{Deserialize, Serialize};

use crate::array_sequence::batch_rows;
use crate::class_mode::Targets;
use crate::epoch_order::EpochOrder;
use crate::error::Mismatch;
use crate::loader::guard_samples;
use crate::pipeline::Pipeline;
use crate::{
    Array, Arrays, Batch, DataError, LoaderOptions, Recipe, Sequence, passed_over, recycle, worker,
};

/// What happens to a sample whose file is not there or no image. Any other failure to read it, such as a file that
/// may not be opened, is an error of the batch in any case, and so is what fails after that, such as writing to
/// `save_to_dir`.
///
/// [`LoaderStats::broken_files`](crate::LoaderStats::broken_files) counts what was left out or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnBrokenFile {
    /// Its batch is an error that names the file. The batches before it are delivered. Default.
    #[default]
    Error,
    /// Its batch is made without it. If nothing is left of the batch, it holds what [`Self::Replace`] would put in the
    /// place of its first sample. So the rows of a prediction no longer go with
    /// [`filenames`](ImageFileFlow::filenames) one by one: remove what
    /// [`broken_files`](ImageFileFlow::broken_files) finds and predict with [`Self::Error`], or predict batch by
    /// batch, because [`Batch::indices`](field@Batch::indices) are the samples of a batch's rows.
    Skip,
    /// The next sample in the order of the files whose image can be read takes its place, with its
    /// target and weight.
    Replace,
}

/// A file that cannot be read as an image, as [`ImageFileFlow::broken_files`] finds it.
#[derive(Debug)]
pub struct BrokenFile {
    /// Index of the sample.
    pub sample: usize,
    /// What is wrong; names the file.
    pub error: DataError,
}

/// A [`Sequence`] of augmented images from files, made by
/// [`flow_from_directory`](crate::ImageDataGenerator::flow_from_directory) or
/// [`flow_from_dataframe`](crate::ImageDataGenerator::flow_from_dataframe).
///
/// A batch reads its own files and nothing else is kept, so that memory does not grow with the
/// number of files. The indices of a batch are positions in [`filenames`](Self::filenames).
///
/// # Shapes
/// Images are `[N, height, width, channels]` of `f32` with the target size, or as the generator's
/// data format says; for targets see [`ClassMode`](crate::ClassMode).
///
/// # Determinism
/// As [`ImageFlow`](crate::ImageFlow): the order is a function of (seed, epoch), the transformation
/// of an image one of (seed, epoch, sample).
#[derive(Debug, Serialize, Deserialize)]
pub struct ImageFileFlow {
    pub(crate) pipeline: Pipeline,
    pub(crate) decoder: Decoder,
    pub(crate) resize: Resize,
    #[serde(with = "crate::path_serde::list")]
    pub(crate) paths: Vec<PathBuf>,
    #[serde(with = "crate::path_serde::list")]
    pub(crate) filenames: Vec<PathBuf>,
    pub(crate) class_names: Vec<String>,
    pub(crate) targets: Targets,
    /// The class of each sample where the targets are no classes but the folders are.
    pub(crate) folders: Option<Vec<usize>>,
    pub(crate) sample_weight: Option<Array>,
    pub(crate) batch_size: usize,
    pub(crate) order: Option<EpochOrder>,
    pub(crate) on_broken_file: OnBrokenFile,
    /// Rows of a table whose file is not there or no image by its name.
    pub(crate) dropped: usize,
}

impl ImageFileFlow {
    pub(crate) const RECIPE: &'static str = "keros::ImageFileFlow";

    /// The files, one for each sample, relative to the folder of the flow. The rows of a prediction without
    /// shuffling go with them one by one, unless there are broken files that [`OnBrokenFile`] skips (then there
    /// are fewer rows) or replaces (then rows are of other files); [`Batch::indices`](field@Batch::indices)
    /// tells what is in a batch.
    pub fn filenames(&self) -> &[PathBuf] {
        &self.filenames
    }

    /// The names of the classes; a class's index is its place. Keras's `class_indices`. Empty if
    /// there are no classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of each sample, if each has one: that of its folder, whatever the targets are, or of
    /// its row of a table whose class mode has classes.
    pub fn classes(&self) -> Option<&[usize]> {
        match &self.targets {
            Targets::OneOf(classes, ..) => Some(classes),
            _ => self.folders.as_deref(),
        }
    }

    /// How many rows of the table were left out because their file is not there, or its name is none
    /// of an image.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// What is done to one sample in one epoch, without making the image.
    pub fn transform(&self, epoch: u64, sample: usize) -> ImageParams {
        self.pipeline.params(epoch, sample)
    }

    /// Reads every file, on `threads` threads (0: as many as the machine has cores; at most
    /// [`LoaderOptions::MAX_WORKERS`]), and tells which are no images, in their order: to know before a
    /// training begins. On fewer threads where the system has no more.
    pub fn broken_files(&self, threads: usize) -> Vec<BrokenFile> {
        find_broken(self.paths.len(), threads, |sample| {
            self.read(sample).map(drop)
        })
    }

    /// The image in the file of a sample.
    fn read(&self, sample: usize) -> Result<Image, DataError> {
        let path = &self.paths[sample];
        worker::working_on(sample, Some(path));
        let bytes = contents(path)?;
        let image = self.decoder.decode(&bytes);
        image.map_err(|source| self.in_file(sample, source))
    }

    fn in_file(&self, sample: usize, source: keros_image::ImageError) -> DataError {
        DataError::ImageFile {
            sample,
            path: self.paths[sample].clone(),
            source: Box::new(source),
        }
    }

    /// Makes a sample of the image in its file.
    fn make(
        &self,
        image: Image,
        epoch: u64,
        sample: usize,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        let made = || {
            // As it is in the file: some ways of resizing go beyond the values that are there.
            self.pipeline.check_values(&image)?;
            match self.resize.apply(image)?.into_pixels() {
                Pixels::U8(pixels) => self.pipeline.make(&pixels, epoch, sample, out),
                Pixels::F32(pixels) => self.pipeline.make(&pixels, epoch, sample, out),
                _ => Err(DataError::source("an image of an unknown kind of pixels")),
            }
        };
        made().map_err(|error| match error {
            DataError::Transform(source) => self.in_file(sample, source),
            other => other,
        })
    }

    /// Makes a sample, or what the policy puts in its place; the sample that was made.
    fn make_or(
        &self,
        epoch: u64,
        sample: usize,
        out: &mut [f32],
    ) -> Result<Option<usize>, DataError> {
        match (self.read(sample), self.on_broken_file) {
            (Ok(image), _) => {
                self.make(image, epoch, sample, out)?;
                Ok(Some(sample))
            }
            (Err(error), OnBrokenFile::Skip) if is_of_the_file(&error) => {
                passed_over::note();
                Ok(None)
            }
            (Err(error), OnBrokenFile::Replace) if is_of_the_file(&error) => {
                passed_over::note();
                self.make_other(epoch, sample, out).map(Some)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Makes the next sample whose image can be read; the sample that was made.
    fn make_other(&self, epoch: u64, broken: usize, out: &mut [f32]) -> Result<usize, DataError> {
        for sample in (broken + 1..self.paths.len()).chain(0..broken) {
            match self.read(sample) {
                Err(error) if is_of_the_file(&error) => {}
                read => {
                    self.make(read?, epoch, sample, out)?;
                    return Ok(sample);
                }
            }
        }
        // There is no other one: the error of this one, if it still has one.
        self.make(self.read(broken)?, epoch, broken, out)?;
        Ok(broken)
    }
}

/// The samples of so many that do not pass the check, in order. A check that panics is one of them.
fn find_broken(
    samples: usize,
    threads: usize,
    check: impl Fn(usize) -> Result<(), DataError> + Sync,
) -> Vec<BrokenFile> {
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads.min(LoaderOptions::MAX_WORKERS),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let sample = next.fetch_add(1, Ordering::Relaxed);
            if sample >= samples {
                return found;
            }
            if let Err(error) = guard_samples(|| check(sample)) {
                found.push(BrokenFile { sample, error });
            }
        }
    };
    let mut found = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        // This thread is one of them.
        let others: Vec<_> = (1..threads.min(samples)).map_while(start).collect();
        let mut found = work();
        for other in others {
            found.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        found
    });
    found.sort_unstable_by_key(|file| file.sample);
    found
}

/// Whether a file that could not be read is broken or not there, and will be so the next time.
fn is_of_the_file(error: &DataError) -> bool {
    match error {
        DataError::ImageFile { .. } | DataError::Format { .. } => true,
        DataError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

impl Sequence for ImageFileFlow {
    fn len(&self) -> usize {
        self.paths.len().div_ceil(self.batch_size)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let rows = batch_rows(index, self.batch_size, self.paths.len())?;
        let wanted: Vec<usize> = match &self.order {
            Some(order) => order.get(epoch, self.paths.len())[rows].to_vec(),
            None => rows.collect(),
        };
        let values = self.pipeline.shape().values()?;
        let mut images = recycle::vector(wanted.len() * values);
        let mut indices = Vec::with_capacity(wanted.len());
        for sample in &wanted {
            let place = indices.len() * values;
            let out = &mut images[place..place + values];
            indices.extend(self.make_or(epoch, *sample, out)?);
        }
        if indices.is_empty() {
            // Every one of them was skipped: a batch cannot be empty.
            indices.push(self.make_other(epoch, wanted[0], &mut images[..values])?);
        }
        worker::working_on_nothing();
        images.truncate(indices.len() * values);
        let inputs: Arrays =
            Array::from_vec(&self.pipeline.batch_shape(indices.len()), images)?.into();
        let weight = self
            .sample_weight
            .as_ref()
            .map(|weight| weight.select(&indices));
        Ok(Batch {
            targets: self.targets.select(&indices, &inputs)?,
            inputs,
            sample_weight: weight.transpose()?.map(Arrays::from),
            indices,
        })
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        self.pipeline.check_portable("an ImageFileFlow")?;
        Ok(Recipe::new(Self::RECIPE, self))
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.paths.len())
    }
}

/// The shape of the images of a flow.
pub(crate) fn target_shape(
    (height, width): (usize, usize),
    color_mode: ColorMode,
    doing: &'static str,
) -> Result<ImageShape, DataError> {
    let shape = ImageShape::new(height, width, color_mode.channels());
    match shape.values() {
        Ok(_) => Ok(shape),
        Err(_) => Err(DataError::InvalidArgument {
            doing,
            argument: "target_size",
            mismatch: Mismatch::boxed(
                format_args!("at least 1×1 and at most {} values", ImageShape::MAX_VALUES),
                shape,
            ),
        }),
    }
}

/// What is in a file. A pipe or a device is not read, which may wait or go on for ever.
fn contents(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let found = match metadata.is_dir() {
            true => "a folder",
            false => "a pipe, a socket or a device",
        };
        return Err(DataError::Format {
            path: path.to_owned(),
            what: "it is no file",
            mismatch: Mismatch::boxed("a file with an image", found),
        });
    }
    fs::read(path).map_err(failed)
}

/// Whether Keras takes a file of this name for an image.
pub(crate) fn names_an_image(path: &Path) -> bool {
    const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff"];
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.iter().any(|e| found.eq_ignore_ascii_case(e)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_check_of_files_has_bounded_threads_and_hides_no_panic() {
        let threads = Mutex::new(HashSet::new());
        let check = |sample| {
            threads.lock().unwrap().insert(thread::current().id());
            match sample {
                7 => panic!("the decoder panics"),
                2999 => Err(DataError::source("broken")),
                _ => Ok(()),
            }
        };
        let found = find_broken(3000, usize::MAX, check);
        assert!(threads.lock().unwrap().len() <= LoaderOptions::MAX_WORKERS);
        let [panicked, broken] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((panicked.sample, broken.sample), (7, 2999));
        assert!(
            matches!(&panicked.error, DataError::Panicked { message, .. } if &**message == "the decoder panics")
        );
        assert!(find_broken(0, 0, |_| Ok(())).is_empty());
    }
}
