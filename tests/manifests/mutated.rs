//! The fuzz target's check on its corpus, on every case here, and on thousands of texts made from them by cutting, copying
//! and swapping; `REEVE_MUTATIONS` makes more. `make fuzz` looks further, with coverage to guide it.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

#[path = "../fuzz/targets/check.rs"]
mod check;

/// Every text to start from: what the fuzzer found, the cases and the samples.
fn seeds() -> Vec<String> {
    let mut folders: Vec<PathBuf> =
        ["tests/fuzz/corpus", "tests/manifests/valid", "tests/manifests/invalid", "samples"].map(PathBuf::from).into();
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|e| e != "expected") {
                texts.extend(fs::read_to_string(&path).ok());
            }
        }
    }
    texts.sort();
    assert!(texts.len() > 20, "only {} texts to start from", texts.len());
    texts
}

fn words() -> Vec<String> {
    let text = fs::read_to_string("tests/fuzz/words.dict").unwrap();
    let quoted = text.lines().filter_map(|l| l.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|w| w.replace("\\x0a", "\n").replace("\\x0d", "\r").replace("\\x09", "\t")).collect()
}

/// Makes texts out of others.
struct Mutator {
    rng: TestRng,
    seeds: Vec<String>,
    words: Vec<String>,
}

impl Mutator {
    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n.max(1) as u64) as usize
    }

    /// A piece of one of the texts.
    fn piece(&mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        let bytes = self.seeds[seed].as_bytes();
        let (from, length) = (self.rng.next_u64() as usize % bytes.len().max(1), self.rng.next_u64() as usize % 80);
        bytes[from..bytes.len().min(from + length)].to_vec()
    }

    fn text(&mut self) -> String {
        let seed = self.below(self.seeds.len());
        let mut bytes = self.seeds[seed].as_bytes().to_vec();
        bytes.truncate(4096);
        for _ in 0..1 + self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = bytes.len().min(at + self.below(30));
            match self.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let piece = self.piece();
                    drop(bytes.splice(at..at, piece));
                }
                2 => {
                    let word = self.below(self.words.len());
                    drop(bytes.splice(at..at, self.words[word].bytes()));
                }
                3 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    drop(bytes.splice(to..to, copy));
                }
                4 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {
                    let piece = self.piece();
                    drop(bytes.splice(at..end, piece));
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn whatever_is_made_of_the_corpus_is_answered() {
    let seeds = seeds();
    seeds.iter().for_each(|text| check::check(text));
    let count = std::env::var("REEVE_MUTATIONS").map_or(4_000, |n| n.parse().unwrap());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut mutator = Mutator { rng, seeds, words: words() };
    for number in 0..count {
        let text = mutator.text();
        let answered = std::panic::catch_unwind(|| check::check(&text));
        assert!(answered.is_ok(), "text {number} is not answered; put it into tests/fuzz/corpus:\n{text}");
    }
}
