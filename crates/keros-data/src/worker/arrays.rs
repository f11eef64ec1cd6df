//! A batch in shared memory: its arrays one after the other, and a list of what they are.

use std::fs::File;
use std::io;

use bytemuck::Pod;
use memmap2::{Mmap, MmapMut};
use serde::{Deserialize, Serialize};

use super::shared;
use crate::{Array, Arrays, Batch, DType, DataError, Element, recycle};

/// Where arrays begin: more than any element needs.
const ALIGNMENT: usize = 64;

/// What is in a place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parts {
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    role: Role,
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    begin: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Role {
    Input,
    Target,
    Weight,
    Indices,
}

/// A place as the worker sees it.
pub(super) struct Outbox {
    file: File,
    map: Option<MmapMut>,
}

impl Outbox {
    pub(super) fn new(file: File) -> Self {
        Self { file, map: None }
    }

    /// Copies a batch into the place, which grows if it is too small.
    pub(super) fn put(&mut self, batch: &Batch) -> Result<Parts, DataError> {
        let mut arrays = Vec::new();
        let mut add = |role, name: &str, array: Array| {
            arrays.push((role, name.to_owned(), array.to_standard_layout()));
        };
        for (role, group) in [
            (Role::Input, Some(&batch.inputs)),
            (Role::Target, batch.targets.as_ref()),
            (Role::Weight, batch.sample_weight.as_ref()),
        ] {
            for (name, array) in group.into_iter().flat_map(Arrays::iter) {
                add(role, name, array.clone());
            }
        }
        let indices: Vec<i64> = batch.indices.iter().map(|index| *index as i64).collect();
        add(
            Role::Indices,
            "",
            Array::from_vec(&[indices.len()], indices)?,
        );

        let mut bytes: usize = 0;
        let parts = arrays.iter().map(|(role, name, array)| {
            let begin = bytes.next_multiple_of(ALIGNMENT);
            bytes = begin + array.num_bytes();
            Part {
                role: *role,
                name: name.clone(),
                dtype: array.dtype(),
                shape: array.shape().to_vec(),
                begin,
            }
        });
        let parts: Vec<Part> = parts.collect();
        if self.map.as_ref().map_or(0, |map| map.len()) < bytes {
            self.map = None;
            let map = shared::map_mut(&self.file, bytes).map_err(DataError::shared_memory)?;
            self.map = Some(map);
        }
        for (part, (_, _, array)) in parts.iter().zip(&arrays) {
            let bytes = bytes_of(array);
            if let Some(map) = &mut self.map {
                map[part.begin..part.begin + bytes.len()].copy_from_slice(bytes);
            }
        }
        Ok(Parts { parts, bytes })
    }
}

/// A place as the process sees it that reads it.
pub(super) struct Inbox {
    file: File,
    map: Option<Mmap>,
}

impl Inbox {
    pub(super) fn new(file: File) -> Self {
        Self { file, map: None }
    }

    /// Copies the batch out of the place.
    pub(super) fn take(&mut self, parts: Parts) -> Result<Batch, DataError> {
        if self.map.as_ref().map_or(0, |map| map.len()) < parts.bytes {
            let map = shared::map(&self.file, parts.bytes).map_err(DataError::shared_memory)?;
            self.map = Some(map);
        }
        let memory = self.map.as_deref().unwrap_or_default();
        let mut groups: [Vec<(String, Array)>; 3] = Default::default();
        let mut indices = Vec::new();
        for part in parts.parts {
            let array = match part.dtype {
                DType::U8 => copied::<u8>(memory, &part),
                DType::F32 => copied::<f32>(memory, &part),
                DType::I64 => copied::<i64>(memory, &part),
            };
            let no_batch = || io::Error::other("what a worker sent is no batch");
            let array = array
                .ok_or_else(no_batch)
                .map_err(DataError::shared_memory)?;
            match part.role {
                Role::Input => groups[0].push((part.name, array)),
                Role::Target => groups[1].push((part.name, array)),
                Role::Weight => groups[2].push((part.name, array)),
                Role::Indices => {
                    let values = array.as_slice::<i64>().unwrap_or_default();
                    indices = values.iter().map(|index| *index as usize).collect();
                }
            }
        }
        let [inputs, targets, weight] = groups;
        let some = |group: Vec<_>| match group.is_empty() {
            true => Ok(None),
            false => Arrays::from_pairs(group).map(Some),
        };
        let batch = Batch {
            inputs: Arrays::from_pairs(inputs)?,
            targets: some(targets)?,
            sample_weight: some(weight)?,
            indices,
        };
        batch.check()?;
        Ok(batch)
    }
}

/// The elements of an array in standard layout.
pub(crate) fn bytes_of(array: &Array) -> &[u8] {
    match array {
        Array::U8(array) => array.as_slice().unwrap_or_default(),
        Array::F32(array) => bytemuck::cast_slice(array.as_slice().unwrap_or_default()),
        Array::I64(array) => bytemuck::cast_slice(array.as_slice().unwrap_or_default()),
    }
}

fn copied<T: Element + Pod>(memory: &[u8], part: &Part) -> Option<Array> {
    let len = part
        .shape
        .iter()
        .try_fold(1, |n: usize, axis| n.checked_mul(*axis))?;
    let end = len.checked_mul(size_of::<T>())?.checked_add(part.begin)?;
    let elements: &[T] = bytemuck::try_cast_slice(memory.get(part.begin..end)?).ok()?;
    let mut values = recycle::room(len);
    values.extend_from_slice(elements);
    Array::from_vec(&part.shape, values).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recycling;
    use crate::worker::Segment;

    #[test]
    fn a_batch_from_a_worker_is_kept_when_it_is_given_back() {
        let _alone = recycle::tests::alone();
        let values: Vec<i64> = (0..1 << 17).collect();
        let batch = Batch::inputs_only(Array::from_vec(&[1, 1 << 17], values).unwrap());
        let place = Segment::new().unwrap();
        let parts = Outbox::new(place.file().try_clone().unwrap())
            .put(&batch)
            .unwrap();
        let recycling = Recycling::start();
        let taken = Inbox::new(place.file().try_clone().unwrap())
            .take(parts)
            .unwrap();
        assert_eq!(taken, batch);
        recycling.give(taken);
        assert_eq!(recycle::tests::kept_vectors::<i64>(), 1);
    }
}
