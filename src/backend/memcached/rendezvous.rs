//! The choice of the server that holds an item.

/// Servers by the hashes of their names (rendezvous hashing): each key orders the servers in its own way, and the first one holds
/// it. When a server is added or removed, only the keys that it holds move.
#[derive(Debug)]
pub(crate) struct Rendezvous(Box<[u64]>);

impl Rendezvous {
    /// Creates the choice among servers with these names. Their order does not matter.
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| hash(name.as_bytes())).collect())
    }

    /// Returns the index of the server that holds the key with this hash.
    pub(crate) fn server(&self, key: u64) -> usize {
        if self.0.len() == 1 {
            return 0;
        }
        let preference = |(_, server): &(usize, &u64)| (mix(*server ^ key), **server);
        self.0.iter().enumerate().max_by_key(preference).map_or(0, |(index, _)| index)
    }
}

/// FNV-1a, mixed. Unlike a library's hasher, it is the same on every node and in every version.
fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finalizer of splitmix64: each bit of the input changes half of the output's bits.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn names(servers: usize) -> Vec<String> {
        (0..servers).map(|server| format!("10.0.0.{server}:11211")).collect()
    }

    fn holders(names: &[String]) -> Vec<&str> {
        let rendezvous = Rendezvous::new(names.iter().map(String::as_str));
        (0..KEYS).map(|key| names[rendezvous.server(hash(&key.to_le_bytes()))].as_str()).collect()
    }

    #[test]
    fn servers_hold_equal_shares() {
        let names = names(5);
        let holders = holders(&names);
        for name in &names {
            let share = holders.iter().filter(|holder| *holder == name).count();
            assert!((3_600..4_400).contains(&share), "{name} holds {share} of {KEYS} keys, not about a fifth");
        }
    }

    #[test]
    fn only_the_keys_of_a_new_server_move() {
        let all = names(6);
        let (before, after) = (holders(&all[..5]), holders(&all));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!((2_900..3_800).contains(&moved.len()), "{} of {KEYS} keys moved, not about a sixth", moved.len());
        assert!(moved.iter().all(|(_, after)| **after == all[5]), "a key moved between old servers");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let names = names(4);
        let reversed: Vec<_> = names.iter().rev().cloned().collect();
        assert_eq!(holders(&names), holders(&reversed));
    }

    #[test]
    fn hashes_are_the_same_in_every_version() {
        assert_eq!(hash(b"10.0.0.1:11211"), 6_845_262_959_461_274_975);
    }
}
