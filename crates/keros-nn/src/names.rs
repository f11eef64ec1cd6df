//! The names of layers.

use crate::error::NnError;
use std::collections::{HashMap, HashSet};

/// The names in a network so far.
#[derive(Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    counts: HashMap<String, usize>,
}

impl Names {
    /// The name of a layer of this class: its own, or Keras's.
    ///
    /// # Errors
    /// A name that is empty or has a `/`, which is between the names of a layer and its parameter; one that another layer
    /// has.
    pub(crate) fn take(&mut self, own: Option<&str>, class: &str) -> Result<String, NnError> {
        let name = match own {
            Some(name) if name.is_empty() || name.contains('/') => {
                let what = format!("the name of a layer {class}");
                return Err(NnError::argument(
                    what,
                    "characters without `/`",
                    format!("`{name}`"),
                ));
            }
            Some(name) => name.to_owned(),
            None => default_name(class, &mut self.counts),
        };
        match self.taken.insert(name.clone()) {
            true => Ok(name),
            false => Err(NnError::DuplicateLayer { name }),
        }
    }
}

/// Keras's name for the n-th layer of a class: `conv2d`, `conv2d_1`, …
pub(crate) fn default_name(class: &str, counts: &mut HashMap<String, usize>) -> String {
    let mut name = String::new();
    let chars: Vec<char> = class.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let small = |at: Option<&char>| at.is_some_and(char::is_ascii_lowercase);
        let next = chars.get(i + 1);
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let starts_word =
            c.is_ascii_uppercase() && before.is_some() && (small(before) || small(next));
        if starts_word {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    let count = counts.entry(name.clone()).or_insert(0);
    *count += 1;
    match *count {
        1 => name,
        n => format!("{name}_{}", n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_up_as_in_keras() {
        let mut counts = HashMap::new();
        let names = [
            "Conv2D",
            "MaxPooling2D",
            "Conv2D",
            "BatchNormalization",
            "Conv2DTranspose",
            "PReLU",
            "Conv2D",
            "LeakyReLU",
            "DenseBN2",
        ]
        .map(|class| default_name(class, &mut counts));
        assert_eq!(
            names,
            [
                "conv2d",
                "max_pooling2d",
                "conv2d_1",
                "batch_normalization",
                "conv2d_transpose",
                "p_re_lu",
                "conv2d_2",
                "leaky_re_lu",
                "dense_bn2",
            ]
        );
    }
}
