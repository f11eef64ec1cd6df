//! Lines of a bounded length from a pipe.

use std::io::{self, BufRead};

/// What came.
pub(crate) enum Line {
    /// A whole line, without its end, in the buffer.
    Whole,
    /// The last bytes had no end of line; they are in the buffer.
    Cut,
    /// The line is longer than allowed; what was read of it is in the buffer.
    TooLong,
    /// There is nothing more.
    End,
}

/// Reads the next line of at most `max()` bytes into `line`. The bound is asked for again whenever
/// more has come.
pub(crate) fn read_line(
    from: &mut impl BufRead,
    line: &mut Vec<u8>,
    max: impl Fn() -> u64,
) -> io::Result<Line> {
    line.clear();
    loop {
        let more = match from.fill_buf() {
            Ok(more) => more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if more.is_empty() {
            return Ok(if line.is_empty() {
                Line::End
            } else {
                Line::Cut
            });
        }
        let end = more.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(more.len());
        let room = usize::try_from(max()).unwrap_or(usize::MAX);
        let room = room.saturating_sub(line.len());
        let fits = taken <= room;
        line.extend_from_slice(&more[..taken.min(room)]);
        from.consume(if end.is_some() { taken + 1 } else { taken });
        match end {
            _ if !fits => return Ok(Line::TooLong),
            Some(_) => return Ok(Line::Whole),
            None => {}
        }
    }
}
