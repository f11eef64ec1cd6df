//! Descriptors of cuDNN's graph interface: objects whose attributes are set one by one, and which are then made final.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::result::CudnnError;
use candle_core::cuda_backend::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
};

/// A descriptor, destroyed with its last owner.
pub(super) struct Descriptor {
    raw: sys::cudnnBackendDescriptor_t,
    /// Those that it refers to.
    parts: Vec<Arc<Descriptor>>,
}

// SAFETY: a descriptor belongs to no thread.
unsafe impl Send for Descriptor {}
// SAFETY: only one that is final, or filled by cuDNN, is shared, and that is only read.
unsafe impl Sync for Descriptor {}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it was created, and is destroyed once. What this returns changes nothing.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.raw) };
    }
}

/// A type of attributes.
///
/// # Safety
/// Its values are laid out as cuDNN has those of `TYPE`.
pub(super) unsafe trait Attribute {
    const TYPE: Type;
}

macro_rules! attributes {
    ($($rust:ty => $name:ident,)*) => {
        // SAFETY: it is that type of cuDNN's interface for C.
        $(unsafe impl Attribute for $rust { const TYPE: Type = Type::$name; })*
    };
}
attributes! {
    i64 => CUDNN_TYPE_INT64,
    f32 => CUDNN_TYPE_FLOAT,
    bool => CUDNN_TYPE_BOOLEAN,
    *mut c_void => CUDNN_TYPE_VOID_PTR,
    sys::cudnnHandle_t => CUDNN_TYPE_HANDLE,
    sys::cudnnDataType_t => CUDNN_TYPE_DATA_TYPE,
    sys::cudnnConvolutionMode_t => CUDNN_TYPE_CONVOLUTION_MODE,
    sys::cudnnPointwiseMode_t => CUDNN_TYPE_POINTWISE_MODE,
    sys::cudnnNanPropagation_t => CUDNN_TYPE_NAN_PROPOGATION,
    sys::cudnnBackendHeurMode_t => CUDNN_TYPE_HEUR_MODE,
}

impl Descriptor {
    pub(super) fn new(kind: sys::cudnnBackendDescriptorType_t) -> Result<Self, CudnnError> {
        let mut raw = ptr::null_mut();
        // SAFETY: the place for it is valid.
        unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut raw) }.result()?;
        Ok(Self {
            raw,
            parts: Vec::new(),
        })
    }

    /// Gives an attribute its values.
    pub(super) fn with<T: Attribute>(self, name: Name, values: &[T]) -> Result<Self, CudnnError> {
        let (count, first) = (values.len() as i64, values.as_ptr().cast());
        // SAFETY: so many values of that type are there; cuDNN copies them.
        unsafe { sys::cudnnBackendSetAttribute(self.raw, name, T::TYPE, count, first) }.result()?;
        Ok(self)
    }

    /// Refers to other descriptors.
    pub(super) fn with_parts(
        mut self,
        name: Name,
        parts: &[Arc<Self>],
    ) -> Result<Self, CudnnError> {
        let raw: Vec<_> = parts.iter().map(|part| part.raw).collect();
        let (count, first) = (raw.len() as i64, raw.as_ptr().cast());
        let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        // SAFETY: so many descriptors are there, which live as long as this one.
        unsafe { sys::cudnnBackendSetAttribute(self.raw, name, kind, count, first) }.result()?;
        self.parts.extend_from_slice(parts);
        Ok(self)
    }

    pub(super) fn finish(self) -> Result<Arc<Self>, CudnnError> {
        // SAFETY: the descriptor is valid.
        unsafe { sys::cudnnBackendFinalize(self.raw) }.result()?;
        Ok(Arc::new(self))
    }

    /// Writes an attribute into places for it, and tells how many were there.
    fn read(
        &self,
        name: Name,
        kind: Type,
        places: usize,
        first: *mut c_void,
    ) -> Result<usize, CudnnError> {
        let mut count = 0;
        // SAFETY: the callers below have so many places of that type.
        unsafe {
            sys::cudnnBackendGetAttribute(self.raw, name, kind, places as i64, &mut count, first)
        }
        .result()?;
        Ok((count.max(0) as usize).min(places))
    }

    pub(super) fn number(&self, name: Name) -> Result<i64, CudnnError> {
        let mut number = 0_i64;
        self.read(name, Type::CUDNN_TYPE_INT64, 1, (&raw mut number).cast())?;
        Ok(number)
    }

    /// The members of an enumeration that hold for it; a later cuDNN may have more of them than are known here.
    pub(super) fn notes(&self, name: Name, kind: Type) -> Result<Vec<u32>, CudnnError> {
        let mut notes = vec![0_u32; 64];
        let count = self.read(name, kind, notes.len(), notes.as_mut_ptr().cast())?;
        notes.truncate(count);
        Ok(notes)
    }

    /// Descriptors of this kind that cuDNN has filled, as many as there are and `most` at most.
    pub(super) fn descriptors(
        self: &Arc<Self>,
        name: Name,
        kind: sys::cudnnBackendDescriptorType_t,
        most: usize,
    ) -> Result<Vec<Arc<Self>>, CudnnError> {
        let filled = (0..most).map(|_| Self::new(kind));
        let mut filled: Vec<Self> = filled.collect::<Result<_, _>>()?;
        let mut raw: Vec<_> = filled.iter().map(|one| one.raw).collect();
        let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        let count = self.read(name, kind, most, raw.as_mut_ptr().cast())?;
        filled.truncate(count);
        Ok(filled
            .into_iter()
            .map(|mut one| {
                one.parts.push(Arc::clone(self));
                Arc::new(one)
            })
            .collect())
    }

    /// Starts what this plan is for.
    ///
    /// # Safety
    /// The memory that `pack` names is as large as the plan's tensors, and is used on the stream of the handle only.
    pub(super) unsafe fn execute(
        &self,
        handle: sys::cudnnHandle_t,
        pack: &Self,
    ) -> Result<(), CudnnError> {
        // SAFETY: plan and pack are final; the rest is the caller's.
        unsafe { sys::cudnnBackendExecute(handle, self.raw, pack.raw) }.result()
    }
}
