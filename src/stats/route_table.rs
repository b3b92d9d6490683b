//! The routes that are counted one by one.

use std::{
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::counters::RouteCounters;

/// The most routes that are counted one by one; all further ones are counted together, as [`OTHER_ROUTES`].
pub(crate) const MOST_ROUTES: usize = 256;

/// The name of the routes beyond the first 256.
pub(crate) const OTHER_ROUTES: &str = "other";

/// The name of requests without a route.
const NO_ROUTE: &str = "no route";

/// A power of two, so that at most half of the slots are taken.
const SLOTS: usize = 2 * MOST_ROUTES;

/// The place of a route in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RouteId(u16);

impl RouteId {
    const OTHERS: Self = Self(SLOTS as u16);
    pub(super) const UNROUTED: Self = Self(SLOTS as u16 + 1);
}

/// A name that is counted often, with its place in the table that counted it last.
pub(crate) struct CountedName {
    name: Box<str>,
    /// The number of the table, and in the lowest 16 bits the place.
    last: AtomicU64,
}

impl CountedName {
    pub(crate) fn new(name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), last: AtomicU64::new(0) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for CountedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A table of routes that only grows: found without a lock, since a slot never changes once it is taken.
#[derive(Debug)]
pub(super) struct RouteTable {
    /// No other table of this process has it.
    number: u64,
    slots: Box<[OnceLock<Box<RouteCounters>>]>,
    others: RouteCounters,
    unrouted: RouteCounters,
    taken: AtomicUsize,
    adding: Mutex<()>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::with_others(OTHER_ROUTES)
    }
}

impl RouteTable {
    /// Creates an empty table that counts those beyond the limit under `others`.
    pub(super) fn with_others(others: &str) -> Self {
        static TABLES: AtomicU64 = AtomicU64::new(1);
        Self {
            number: TABLES.fetch_add(1, Ordering::Relaxed),
            slots: (0..SLOTS).map(|_| OnceLock::new()).collect(),
            others: RouteCounters::new(others),
            unrouted: RouteCounters::new(NO_ROUTE),
            taken: AtomicUsize::new(0),
            adding: Mutex::new(()),
        }
    }

    /// Returns the place of a route, which is added if it is new and one of the first 256.
    #[inline]
    pub(super) fn id(&self, name: &str) -> RouteId {
        let first = first_slot(name);
        match self.slots[first].get() {
            Some(route) if *route.name == *name => RouteId(first as u16),
            _ => self.find_or_add(name, first),
        }
    }

    /// The same for a name that remembers its place.
    #[inline]
    pub(super) fn id_of(&self, name: &CountedName) -> RouteId {
        let last = name.last.load(Ordering::Relaxed);
        if last >> 16 == self.number {
            return RouteId((last & 0xffff) as u16);
        }
        let id = self.id(&name.name);
        name.last.store(self.number << 16 | u64::from(id.0), Ordering::Relaxed);
        id
    }

    #[inline]
    pub(super) fn counters(&self, id: RouteId) -> &RouteCounters {
        match self.slots.get(usize::from(id.0)).and_then(OnceLock::get) {
            Some(route) => route,
            None if id == RouteId::UNROUTED => &self.unrouted,
            None => &self.others,
        }
    }

    pub(super) fn name(&self, id: RouteId) -> &str {
        &self.counters(id).name
    }

    /// All routes so far; the others and that without a route only if there are any.
    pub(super) fn routes(&self) -> impl Iterator<Item = &RouteCounters> {
        let others = [&self.others, &self.unrouted].into_iter().filter(|others| others.threads().next().is_some());
        self.slots.iter().filter_map(OnceLock::get).map(|route| &**route).chain(others)
    }

    #[inline(never)]
    fn find_or_add(&self, name: &str, first: usize) -> RouteId {
        let slots = || (0..SLOTS).map(move |step| (first + step) % SLOTS);
        let find = || slots().map_while(|slot| Some((slot, self.slots[slot].get()?))).find(|(_, route)| *route.name == *name);
        if let Some((slot, _)) = find() {
            return RouteId(slot as u16);
        }
        if self.taken.load(Ordering::Relaxed) >= MOST_ROUTES {
            return RouteId::OTHERS;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((slot, _)) = find() {
            return RouteId(slot as u16);
        }
        if self.taken.load(Ordering::Relaxed) >= MOST_ROUTES {
            return RouteId::OTHERS;
        }
        let Some(slot) = slots().find(|slot| self.slots[*slot].get().is_none()) else { return RouteId::OTHERS };
        self.slots[slot].get_or_init(|| Box::new(RouteCounters::new(name)));
        self.taken.fetch_add(1, Ordering::Relaxed);
        RouteId(slot as u16)
    }
}

/// The slot at which the search for a route begins, from its length and its edges: names differ there, and reading them all would cost
/// more than the comparison that follows in any case.
#[inline]
fn first_slot(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (start, end) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(start), Some(end)) => (u64::from_le_bytes(*start), u64::from_le_bytes(*end)),
        _ => (bytes.iter().fold(0, |edge, byte| edge << 8 | u64::from(*byte)), 0),
    };
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (start ^ end.rotate_left(23) ^ bytes.len() as u64).wrapping_mul(ODD);
    (mixed >> (u64::BITS - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_counted_name_has_its_own_place_in_each_table() {
        let (one, other) = (RouteTable::default(), RouteTable::default());
        other.id("first");
        let name = CountedName::new("second");
        for table in [&one, &one, &other, &one, &other] {
            assert_eq!((table.id_of(&name), table.name(table.id_of(&name))), (table.id("second"), "second"));
        }
    }

    #[test]
    fn each_route_has_one_place_and_keeps_it() {
        let table = RouteTable::default();
        // They differ in the middle only, so that all begin their search at one slot.
        let names: Vec<String> = (0..MOST_ROUTES).map(|route| format!("/api/v1/{route:03}/comments")).collect();
        let ids: Vec<RouteId> = names.iter().map(|name| table.id(name)).collect();
        assert_eq!(ids.iter().map(|id| id.0).collect::<HashSet<_>>().len(), MOST_ROUTES);
        for (name, id) in names.iter().zip(ids) {
            assert_eq!((table.id(name), table.name(id)), (id, name.as_str()));
        }
    }

    #[test]
    fn routes_beyond_the_limit_share_a_place() {
        let table = RouteTable::default();
        for route in 0..10_000 {
            table.id(&format!("/{route}"));
        }
        assert_eq!(table.name(table.id("/9999")), OTHER_ROUTES);
        assert_eq!(table.name(table.id("")), OTHER_ROUTES);
        assert_eq!(table.name(table.id("/0")), "/0");
        assert_eq!(table.routes().count(), MOST_ROUTES);
    }

    #[test]
    fn threads_that_add_the_same_routes_agree() {
        let table = RouteTable::default();
        let names: Vec<String> = (0..200).map(|route| format!("/{route}")).collect();
        let ids = || names.iter().map(|name| table.id(name)).collect::<Vec<_>>();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ids)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        assert!(all.iter().all(|ids| *ids == all[0] && !ids.is_empty()));
        assert_eq!(table.routes().count(), 200);
    }
}
