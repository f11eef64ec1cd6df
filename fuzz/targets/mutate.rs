//! Damaged copies of good inputs, the same in every run: what the tests of a crate give to its fuzz target, so that
//! target and seeds stay in order between two runs of the fuzzer.

/// Calls `target` with every seed, and with `copies` damaged copies of each.
pub(crate) fn seeds_and_copies(seeds: &[Vec<u8>], copies: u64, target: impl Fn(&[u8])) {
    for (number, seed) in seeds.iter().enumerate() {
        target(seed);
        for copy in 0..copies {
            let mut random = Random(number as u64 * 1_000_003 + copy);
            let mut bytes = seed.clone();
            for _ in 0..=random.below(4) {
                damage(&mut bytes, seeds, &mut random);
            }
            target(&bytes);
        }
    }
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.next() as u8),
        2 => {
            let end = (at + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        3 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        kind => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = match kind {
                    4 => *byte ^ 1 << random.below(8),
                    _ => [0, 0x7f, 0x80, 0xff][random.below(4)],
                };
            }
        }
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
