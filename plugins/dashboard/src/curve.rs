//! Curves in bounded memory: rows of numbers under names, thinned out as a long run goes on.

use serde::Serialize;

/// Most names a curve keeps; a model may have a log per parameter.
const MAX_KEYS: usize = 64;

/// Numbers at one moment of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row(
    /// Zero-based epoch.
    u64,
    /// Batches of the epoch done.
    u64,
    /// A value per name; fewer if the names came later. JSON knows no NaN, it becomes `null`.
    Vec<f64>,
);

/// Rows in the order of the run. When there are too many, every second one goes, and of those to
/// come every second one is left out: what remains is evenly spaced over the whole run.
#[derive(Debug)]
pub(crate) struct Curve {
    keys: Vec<String>,
    rows: Vec<Row>,
    max_rows: usize,
    /// Of as many rows one is kept.
    stride: u64,
    /// Rows to leave out before the next one is kept.
    skip: u64,
    /// Changes when rows that were there are no longer what they were.
    generation: u64,
}

/// How much of a curve a reader has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// No generation is 0: a new reader has nothing.
    generation: u64,
    rows: usize,
}

/// What a reader lacks.
#[derive(Debug, Serialize)]
pub(crate) struct Part<'a> {
    /// Whether the rows replace what the reader has; otherwise they follow it.
    whole: bool,
    keys: &'a [String],
    rows: &'a [Row],
}

impl Curve {
    /// A curve of at most `max_rows` rows, an even number.
    pub(crate) fn new(max_rows: usize) -> Curve {
        Curve {
            keys: Vec::new(),
            rows: Vec::new(),
            max_rows,
            stride: 1,
            skip: 0,
            generation: 1,
        }
    }

    pub(crate) fn push<'a>(
        &mut self,
        epoch: u64,
        batches: u64,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let mut row = vec![f64::NAN; self.keys.len()];
        for (key, value) in values {
            match self.keys.iter().position(|known| known == key) {
                Some(place) => row[place] = value,
                None if self.keys.len() < MAX_KEYS => {
                    self.keys.push(key.to_owned());
                    row.push(value);
                }
                None => {}
            }
        }
        if self.rows.len() == self.max_rows {
            let mut index = 0;
            self.rows.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
            self.generation += 1;
        }
        self.rows.push(Row(epoch, batches, row));
        self.skip = self.stride - 1;
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        let generation = self.generation + 1;
        *self = Curve::new(self.max_rows);
        self.generation = generation;
    }

    /// What is new since `cursor`, which then stands at the end.
    pub(crate) fn since(&self, cursor: &mut Cursor) -> Part<'_> {
        let whole = cursor.generation != self.generation;
        let from = if whole {
            0
        } else {
            cursor.rows.min(self.rows.len())
        };
        *cursor = Cursor {
            generation: self.generation,
            rows: self.rows.len(),
        };
        Part {
            whole,
            keys: &self.keys,
            rows: &self.rows[from..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(curve: &mut Curve, number: u64) {
        curve.push(number, 0, [("loss", number as f64)].into_iter());
    }

    fn kept(curve: &Curve) -> Vec<u64> {
        curve.rows.iter().map(|row| row.0).collect()
    }

    #[test]
    fn a_long_curve_is_bounded_and_evenly_spaced() {
        let mut curve = Curve::new(8);
        for number in 0..1000 {
            push(&mut curve, number);
            assert!(curve.rows.len() <= 8);
        }
        assert_eq!(kept(&curve), [0, 128, 256, 384, 512, 640, 768, 896]);
    }

    #[test]
    fn a_reader_gets_what_it_lacks_and_all_of_it_after_a_thinning() {
        let mut curve = Curve::new(4);
        let mut cursor = Cursor::default();
        for number in 0..3 {
            push(&mut curve, number);
        }
        let first = curve.since(&mut cursor);
        assert!(first.whole);
        assert_eq!(first.rows.len(), 3);
        assert_eq!(curve.since(&mut cursor).rows.len(), 0);
        push(&mut curve, 3);
        let next = curve.since(&mut cursor);
        assert!(!next.whole);
        assert_eq!(next.rows, [Row(3, 0, vec![3.0])]);
        push(&mut curve, 4);
        let thinned = curve.since(&mut cursor);
        assert!(thinned.whole);
        assert_eq!(kept(&curve), [0, 2, 4]);
        curve.clear();
        let cleared = curve.since(&mut cursor);
        assert!(cleared.whole && cleared.rows.is_empty());
    }

    #[test]
    fn names_may_come_later_and_values_may_be_missing() {
        let mut curve = Curve::new(4);
        curve.push(0, 1, [("a", 1.0)].into_iter());
        curve.push(0, 2, [("b", 2.0)].into_iter());
        let part = serde_json::to_string(&curve.since(&mut Cursor::default())).unwrap();
        assert_eq!(
            part,
            r#"{"whole":true,"keys":["a","b"],"rows":[[0,1,[1.0]],[0,2,[null,2.0]]]}"#
        );
    }

    #[test]
    fn names_are_bounded() {
        let mut curve = Curve::new(4);
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        curve.push(0, 1, names.iter().map(|name| (name.as_str(), 0.0)));
        assert_eq!(
            (curve.keys.len(), curve.rows[0].2.len()),
            (MAX_KEYS, MAX_KEYS)
        );
    }
}
