//! A stream that a thread of its own reads ahead: decompressing goes on while its packets are replayed.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Most bytes that are handed over at once, and blocks that may wait.
const BLOCK: usize = 64 * 1024;
const WAITING: usize = 4;

/// A block; an empty one is the end of the stream.
type Block = io::Result<Vec<u8>>;

/// Bytes that another thread has read.
pub(super) struct Aside {
    blocks: Receiver<Block>,
    block: Vec<u8>,
    /// Bytes of the block that were taken.
    taken: usize,
    ended: bool,
}

impl Aside {
    /// Has `source` read by a thread, which ends with the stream, or when nobody wants more of it.
    pub(super) fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(WAITING);
        thread::Builder::new()
            .name("decompress".into())
            .spawn(move || hand_over(source, &sender))?;
        Ok(Self { blocks, block: Vec::new(), taken: 0, ended: false })
    }
}

fn hand_over(mut source: impl Read, sender: &SyncSender<Block>) {
    loop {
        let mut block = vec![0; BLOCK];
        // What is there is handed over at once, so that a live stream is not held back.
        let read = match source.read(&mut block) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read,
        };
        let last = !matches!(read, Ok(1..));
        let block = read.map(|length| {
            block.truncate(length);
            block
        });
        if sender.send(block).is_err() || last {
            return;
        }
    }
}

impl Read for Aside {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() && !self.ended && !buffer.is_empty() {
            // A thread that ended without a word did not come to the end of the stream.
            let lost = |_| io::Error::other("the thread that decompresses has ended");
            let next = self.blocks.recv().map_err(lost).and_then(|block| block);
            self.ended = !matches!(&next, Ok(block) if !block.is_empty());
            (self.block, self.taken) = (next?, 0);
        }
        let rest = self.block.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes in pieces, and then ends in some way.
    struct Pieces(Vec<Vec<u8>>, fn() -> io::Result<usize>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop() else { return (self.1)() };
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_source() {
        let pieces: Vec<Vec<u8>> =
            (1..100_usize).map(|n| vec![n as u8; n * 640 % BLOCK + 1]).collect();
        let expected: Vec<u8> = pieces.iter().rev().flatten().copied().collect();
        let mut bytes = Vec::new();
        Aside::new(Pieces(pieces, || Ok(0))).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == expected);
    }

    #[test]
    fn what_came_before_an_error_is_read_and_then_the_error_once() {
        let source = Pieces(vec![b"before".to_vec()], || Err(io::Error::from_raw_os_error(5)));
        let mut aside = Aside::new(source).unwrap();
        let mut bytes = [0; 6];
        aside.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"before");
        assert_eq!(aside.read(&mut bytes).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(aside.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn a_thread_that_fails_is_no_end() {
        let mut aside = Aside::new(Pieces(Vec::new(), || panic!("on purpose"))).unwrap();
        assert!(aside.read(&mut [0; 6]).unwrap_err().to_string().contains("has ended"));
    }
}
