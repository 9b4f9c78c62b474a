//! Masks of the latest filters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mask::ItemMask;

/// Memory of all masks in bytes.
const BYTES: usize = 64 << 20;

/// Masks by the key of their filter; the least recently used are dropped.
#[derive(Debug)]
pub(crate) struct MaskCache {
    masks: Mutex<Masks>,
    max: usize,
}

#[derive(Debug, Default)]
struct Masks {
    by_key: HashMap<String, CachedMask>,
    uses: u64,
}

/// A mask as of the snapshot of a number.
#[derive(Clone, Debug)]
pub(crate) struct CachedMask {
    pub(crate) number: u64,
    pub(crate) mask: Arc<ItemMask>,
    used: u64,
}

impl MaskCache {
    /// A cache of masks of so many items.
    pub(crate) fn new(items: usize) -> Self {
        Self {
            masks: Mutex::default(),
            max: (BYTES / (items / 8).max(1)).clamp(8, 1_024),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<CachedMask> {
        let mut masks = self.lock();
        masks.uses += 1;
        let uses = masks.uses;
        let cached = masks.by_key.get_mut(key)?;
        cached.used = uses;
        Some(cached.clone())
    }

    /// Keeps a mask, unless a later one of the same filter is kept.
    pub(crate) fn put(&self, key: String, number: u64, mask: &Arc<ItemMask>) {
        let mut masks = self.lock();
        masks.uses += 1;
        if let Some(kept) = masks.by_key.get(&key)
            && kept.number > number
        {
            return;
        }
        if masks.by_key.len() >= self.max && !masks.by_key.contains_key(&key) {
            let oldest = masks.by_key.iter().min_by_key(|(_, cached)| cached.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                masks.by_key.remove(&oldest);
            }
        }
        let cached = CachedMask {
            number,
            mask: Arc::clone(mask),
            used: masks.uses,
        };
        masks.by_key.insert(key, cached);
    }

    fn lock(&self) -> MutexGuard<'_, Masks> {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_cache_drops_the_least_recently_used() {
        let cache = MaskCache::new(1 << 30);
        assert_eq!(cache.max, 8);
        let mask = Arc::new(ItemMask::new(vec![0], 1));
        for key in 0..8 {
            cache.put(key.to_string(), 0, &mask);
        }
        assert!(cache.get("0").is_some());
        cache.put("8".into(), 3, &mask);
        assert!(cache.get("1").is_none() && cache.get("0").is_some());
        cache.put("8".into(), 2, &mask);
        assert_eq!(cache.get("8").unwrap().number, 3);
    }
}
