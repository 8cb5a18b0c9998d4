-- What a server without others keeps of its groups: the entries of each, and the state that they led to at some entry.
--
-- Names are ours; Nacos keeps such logs in files of JRaft's. A checksum is the CRC-32 of the group, the index and the
-- text. The text stands last in a row: SQLite must walk the whole of it to reach what stands behind it.

CREATE TABLE cp_log (
  group_id TEXT NOT NULL,
  -- Counts the entries of the group from 1 without a gap.
  log_index INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  entry TEXT NOT NULL,
  PRIMARY KEY (group_id, log_index)
) STRICT;

-- The snapshot that counts. Entries up to its index may be there still; nobody reads them.
CREATE TABLE cp_snapshot (
  group_id TEXT NOT NULL PRIMARY KEY,
  -- Whose parts they are. No two attempts at a snapshot of a group share a generation.
  generation INTEGER NOT NULL,
  -- The last entry that is in it.
  log_index INTEGER NOT NULL,
  parts INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

-- Its text, cut into parts numbered from 0; with those of attempts that broke off, and of the one before.
CREATE TABLE cp_snapshot_part (
  group_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  part INTEGER NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (group_id, generation, part)
) STRICT;
