//! `flow_from_directory`: a folder with a folder for each class.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keros_image::{ColorMode, Decoder, Interpolation, Resize};
use walkdir::WalkDir;

use crate::class_mode::{ClassMode, Targets};
use crate::epoch_order::EpochOrder;
use crate::image_file_flow::{names_an_image, target_shape};
use crate::pipeline::Pipeline;
use crate::rng::Purpose;
use crate::{DataError, ImageDataGenerator, ImageFileFlow, OnBrokenFile, SaveImages, Subset};

const DOING: &str = "setting up flow_from_directory";

/// Options of [`ImageDataGenerator::flow_from_directory`]. Write `DirectoryOptions { batch_size: 16,
/// ..DirectoryOptions::default() }`: options will be added.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryOptions {
    /// Height and width of every image, in pixels. Default: (256, 256).
    pub target_size: (usize, usize),
    /// Channels of every image. Default: rgb.
    pub color_mode: ColorMode,
    /// The folders that are classes, each once, in the order of their indices. Default: all folders,
    /// sorted.
    pub classes: Option<Vec<String>>,
    /// What the targets are. Default: categorical.
    pub class_mode: ClassMode,
    /// Images per batch; the last batch of an epoch may be shorter. Default: 32.
    pub batch_size: usize,
    /// Whether every epoch has a new order. Default: true.
    pub shuffle: bool,
    /// Seed of the order and of the augmentation. Default: 0.
    pub seed: u64,
    /// Where the images are written too. Default: nowhere.
    pub save_to_dir: Option<SaveImages>,
    /// Whether links to folders inside the classes are followed. Default: false.
    pub follow_links: bool,
    /// The part of each class that is taken. Default: all of it.
    pub subset: Option<Subset>,
    /// How images are resized. Default: nearest.
    pub interpolation: Interpolation,
    /// Whether images are cut to the target's aspect ratio before they are resized. Default: false.
    pub keep_aspect_ratio: bool,
    /// What happens to a file that is no image. Default: an error.
    pub on_broken_file: OnBrokenFile,
    /// A file that claims more pixels is broken. Default: 100 million.
    pub max_pixels: u64,
    /// Whether photographs are turned upright by their EXIF orientation; Keras leaves them as they
    /// are stored. Default: true.
    pub apply_orientation: bool,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            target_size: (256, 256),
            color_mode: ColorMode::default(),
            classes: None,
            class_mode: ClassMode::default(),
            batch_size: 32,
            shuffle: true,
            seed: 0,
            save_to_dir: None,
            follow_links: false,
            subset: None,
            interpolation: Interpolation::default(),
            keep_aspect_ratio: false,
            on_broken_file: OnBrokenFile::default(),
            max_pixels: 100_000_000,
            apply_orientation: true,
        }
    }
}

pub(crate) fn flow(
    generator: ImageDataGenerator,
    directory: &Path,
    options: DirectoryOptions,
) -> Result<ImageFileFlow, DataError> {
    generator.check()?;
    if matches!(options.class_mode, ClassMode::Raw | ClassMode::MultiOutput) {
        let expected = "categorical, binary, sparse, input or none";
        return Err(DataError::invalid(
            DOING,
            "class_mode",
            expected,
            options.class_mode,
        ));
    }
    if options.batch_size == 0 {
        return Err(DataError::invalid(DOING, "batch_size", "at least 1", 0));
    }
    let shape = target_shape(options.target_size, options.color_mode, DOING)?;
    let (part, augments) = Subset::of(options.subset, &generator, DOING)?;
    let class_names = match options.classes {
        Some(classes) => classes,
        None => folders(directory)?,
    };
    let mut seen = BTreeSet::new();
    if let Some(name) = class_names.iter().find(|name| !seen.insert(*name)) {
        let found = format!("{name:?} twice");
        return Err(DataError::invalid(
            DOING,
            "classes",
            "different names",
            found,
        ));
    }
    if class_names.is_empty() {
        return Err(DataError::Empty {
            doing: DOING,
            what: format!("the list of classes in {}", directory.display()).into(),
        });
    }
    if options.class_mode == ClassMode::Binary && class_names.len() > 2 {
        let found = format!("{} classes with binary", class_names.len());
        let expected = "categorical or sparse for more than two classes";
        return Err(DataError::invalid(DOING, "class_mode", expected, found));
    }
    let (mut paths, mut filenames, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    let mut images = 0;
    for (class, name) in class_names.iter().enumerate() {
        let mut files = files(directory, name, options.follow_links)?;
        images += files.len();
        let taken = part(files.len());
        for filename in files.drain(taken) {
            paths.push(directory.join(&filename));
            filenames.push(filename);
            classes.push(class);
        }
    }
    if paths.is_empty() {
        if let Some(subset) = options.subset.filter(|_| images > 0) {
            return Err(subset.without_images(&generator, images, DOING));
        }
        return Err(DataError::Empty {
            doing: DOING,
            what: format!("the list of images in {}", directory.display()).into(),
        });
    }
    let (targets, folders) = match options.class_mode {
        ClassMode::Input => (Targets::Images, Some(classes)),
        ClassMode::None => (Targets::None, Some(classes)),
        mode => (Targets::OneOf(classes, class_names.len(), mode), None),
    };
    Ok(ImageFileFlow {
        pipeline: Pipeline::new(
            generator,
            shape,
            options.seed,
            augments,
            options.save_to_dir,
            options.subset,
        )?,
        decoder: Decoder::new()
            .color_mode(options.color_mode)
            .max_pixels(options.max_pixels)
            .apply_orientation(options.apply_orientation),
        resize: Resize::new(shape.height, shape.width)
            .interpolation(options.interpolation)
            .keep_aspect_ratio(options.keep_aspect_ratio),
        paths,
        filenames,
        class_names,
        targets,
        folders,
        sample_weight: None,
        batch_size: options.batch_size,
        order: options
            .shuffle
            .then(|| EpochOrder::new(options.seed, Purpose::Samples)),
        on_broken_file: options.on_broken_file,
        dropped: 0,
    })
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The names of the folders in a folder, sorted by their bytes.
fn folders(directory: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| unreadable(directory, source))? {
        let path = entry
            .map_err(|source| unreadable(directory, source))?
            .path();
        if !path.is_dir() {
            continue;
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => names.push(name.to_owned()),
            None => {
                let source = io::Error::other("the name of a class has to be UTF-8");
                return Err(unreadable(&path, source));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The images of a class, relative to the folder around it: by folder, then by name.
fn files(directory: &Path, class: &str, follow_links: bool) -> Result<Vec<PathBuf>, DataError> {
    let folder = directory.join(class);
    if !folder.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no folder of this class");
        return Err(unreadable(&folder, source));
    }
    let mut files = Vec::new();
    for entry in WalkDir::new(&folder).follow_links(follow_links) {
        let path = match entry {
            Ok(entry) if entry.path().is_dir() => continue,
            Ok(entry) => entry.into_path(),
            // That file cannot be read, when its turn comes.
            Err(error) => match error.path() {
                Some(path) if error.loop_ancestor().is_none() && leads_nowhere(path) => {
                    path.to_owned()
                }
                path => {
                    let path = path.unwrap_or(&folder).to_owned();
                    return Err(unreadable(&path, error.into()));
                }
            },
        };
        if names_an_image(&path)
            && let Ok(relative) = path.strip_prefix(directory)
        {
            files.push(relative.to_owned());
        }
    }
    let key = |path: &PathBuf| {
        let bytes = |part: &std::ffi::OsStr| part.as_encoded_bytes().to_vec();
        let parent = path.parent().map(|parent| bytes(parent.as_os_str()));
        (parent, path.file_name().map(bytes))
    };
    files.sort_by_cached_key(key);
    Ok(files)
}

/// Whether it is a link to nothing, unlike one to a folder, which may be one that cannot be read.
fn leads_nowhere(path: &Path) -> bool {
    path.is_symlink() && !path.is_dir()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The superuser can read every folder, so that only the decision is tested.
    #[test]
    fn a_link_to_a_folder_is_no_file() {
        let around = tempfile::tempdir().unwrap();
        let path = |name: &str| around.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        symlink("folder", path("link")).unwrap();
        symlink("nothing", path("lost")).unwrap();
        symlink("itself", path("itself")).unwrap();
        let found: Vec<&str> = ["folder", "link", "lost", "itself", "missing"]
            .into_iter()
            .filter(|name| leads_nowhere(&path(name)))
            .collect();
        assert_eq!(found, ["lost", "itself"]);
    }
}
