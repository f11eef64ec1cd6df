//! The header of numpy's `.npy` format: what the elements are and how they lie.
//!
//! The format: a magic string, a version, the length of the header, and the header, a Python literal
//! such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

use std::io::Read;

use candle_core::DType;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The header ends, with the length of all before it, at a multiple of this.
const ALIGNMENT: usize = 64;
/// No header of numbers is longer, and no version 1.0 header can be.
const MAX_HEADER: usize = u16::MAX as usize;
/// As many dimensions as numpy has.
const MAX_RANK: usize = 64;

/// A header.
#[derive(Debug)]
pub(crate) struct Header {
    /// The element type as numpy spells it, with the byte order before it: `<f4`.
    pub(crate) descr: String,
    /// Whether the first index moves fastest.
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
    /// Where the elements begin, in bytes.
    pub(crate) len: u64,
}

macro_rules! dtypes {
    ($($dtype:ident $code:literal;)*) => {
        /// What numpy calls an element type, without the byte order.
        pub(crate) fn code(dtype: DType) -> Option<&'static str> {
            match dtype {
                $(DType::$dtype => Some($code),)*
                _ => None,
            }
        }

        fn from_code(code: &str) -> Option<DType> {
            match code {
                $($code => Some(DType::$dtype),)*
                _ => None,
            }
        }

        /// The element types that numpy has too, in words.
        pub(crate) const SUPPORTED: &str = concat!("one of", $(" ", stringify!($dtype)),*);
    };
}

dtypes! {
    U8 "u1";
    U32 "u4";
    I16 "i2";
    I32 "i4";
    I64 "i8";
    F16 "f2";
    F32 "f4";
    F64 "f8";
}

impl Header {
    /// The element type, if candle has it.
    pub(crate) fn dtype(&self) -> Option<DType> {
        let code = self.descr.strip_prefix(['<', '>', '|'])?;
        let dtype = from_code(code)?;
        (dtype.size_in_bytes() == 1 || !self.descr.starts_with('|')).then_some(dtype)
    }

    /// Whether the bytes of each element stand in the other order than on this machine.
    pub(crate) fn is_swapped(&self) -> bool {
        let other = if cfg!(target_endian = "big") {
            '<'
        } else {
            '>'
        };
        self.descr.starts_with(other)
    }

    /// Reads a header of version 1.0, 2.0 or 3.0.
    pub(crate) fn read(input: &mut impl Read) -> Result<Self, String> {
        let mut bytes = |len: usize| {
            let mut bytes = vec![0; len];
            match input.read_exact(&mut bytes) {
                Ok(()) => Ok(bytes),
                Err(error) => Err(format!("reading its header: {error}")),
            }
        };
        let start = bytes(MAGIC.len() + 2)?;
        let Some(version) = start.strip_prefix(MAGIC) else {
            return Err("it is not an array of numpy: it has another magic string".to_owned());
        };
        let length_bytes = match version {
            [1, 0] => 2,
            [2 | 3, 0] => 4,
            _ => {
                return Err(format!(
                    "format version {version:?} (expected 1.0, 2.0 or 3.0)"
                ));
            }
        };
        let length = bytes(length_bytes)?
            .iter()
            .rev()
            .fold(0, |length, &byte| length << 8 | usize::from(byte));
        if length > MAX_HEADER {
            return Err(format!(
                "its header is too long (expected at most {MAX_HEADER} bytes, found {length})"
            ));
        }
        let text = bytes(length)?;
        let text = std::str::from_utf8(&text).map_err(|error| format!("its header: {error}"))?;
        let mut header = Literal(text)
            .header()
            .ok_or_else(|| format!("its header is not one of a plain array: {:?}", shown(text)))?;
        if header.shape.len() > MAX_RANK {
            let rank = header.shape.len();
            return Err(format!(
                "too many dimensions (expected at most {MAX_RANK}, found {rank})"
            ));
        }
        header.len = (start.len() + length_bytes + length) as u64;
        Ok(header)
    }
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The header of version 1.0 for an array in C order; `None` if it would be too long.
pub(crate) fn header(code: &str, shape: &[usize]) -> Option<Vec<u8>> {
    let order = match () {
        () if code.ends_with('1') => '|',
        () if cfg!(target_endian = "big") => '>',
        () => '<',
    };
    let shape: String = match shape {
        [one] => format!("{one},"),
        _ => {
            let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
            dims.join(", ")
        }
    };
    let text =
        format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    let start = MAGIC.len() + 4;
    let end = (start + text.len() + 1).next_multiple_of(ALIGNMENT);
    let length = u16::try_from(end - start).ok()?;
    let mut bytes = Vec::with_capacity(end);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(end - 1, b' ');
    bytes.push(b'\n');
    Some(bytes)
}

/// The rest of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// A dictionary with exactly the three entries of a header, in any order.
    fn header(mut self) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.token("{")?;
        while self.token("}").is_none() {
            let key = self.string()?;
            self.token(":")?;
            let is_new = match key {
                "descr" => descr.replace(self.string()?).is_none(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => false,
            };
            let goes_on = self.token(",").is_some();
            if !is_new || !goes_on && !self.0.trim_start().starts_with('}') {
                return None;
            }
        }
        self.0.trim().is_empty().then_some(Header {
            descr: descr?.to_owned(),
            fortran_order: fortran_order?,
            shape: shape?,
            len: 0,
        })
    }

    fn token(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = match self.token("'") {
            Some(()) => '\'',
            None => self.token("\"").map(|()| '"')?,
        };
        let (string, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        (!string.contains('\\')).then_some(string)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.token("True") {
            Some(()) => Some(true),
            None => self.token("False").map(|()| false),
        }
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        let mut goes_on = true;
        self.token("(")?;
        while self.token(")").is_none() {
            if !goes_on {
                return None;
            }
            numbers.push(self.number()?);
            goes_on = self.token(",").is_some();
        }
        // In Python `(3)` is a number.
        (numbers.len() != 1 || goes_on).then_some(numbers)
    }

    fn number(&mut self) -> Option<usize> {
        let text = self.0.trim_start();
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        self.0 = rest;
        number.parse().ok()
    }
}
