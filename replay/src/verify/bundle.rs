//! What a failure leaves behind: all that it takes to see it once more, and to look into it.

use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::capture::{ClassicWriter, Precision};

/// The script in the folder of a failure.
pub const SCRIPT: &str = "script.json";

impl Failure {
    /// Leaves a folder named after the oracle and the script's seed, and says which:
    ///
    /// - `script.json`, which `twinpath verify` runs,
    /// - `packets.pcap`, the packets as they went in, a millisecond apart,
    /// - `state.txt`, the tables at the difference,
    /// - `README.txt`, the difference and the command.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        let folder = folder.join(format!("{}-{:016x}", self.oracle, self.scenario.seed));
        std::fs::create_dir_all(&folder)?;
        self.scenario.write(&folder.join(SCRIPT)).map_err(io::Error::other)?;
        write_packets(&folder.join("packets.pcap"), &self.packets)?;
        std::fs::write(folder.join("state.txt"), &self.state)?;
        let text =
            format!("{}\n\nonce more: twinpath verify {}\n", self.difference, folder.display());
        std::fs::write(folder.join("README.txt"), text)?;
        Ok(folder)
    }
}

/// Writes frames to a capture, a millisecond apart.
pub fn write_packets(path: &Path, packets: &[Vec<u8>]) -> io::Result<()> {
    let file = std::fs::File::create(path)?;
    let mut capture = ClassicWriter::new(io::BufWriter::new(file), Precision::Nano)?;
    for (number, packet) in packets.iter().enumerate() {
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        capture.write(number as u64 * 1_000_000, packet, length)?;
    }
    capture.finish().map(drop)
}
