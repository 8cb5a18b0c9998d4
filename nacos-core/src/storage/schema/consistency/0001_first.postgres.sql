-- The tables of 0001_first.sql for Postgres.

CREATE TABLE cp_log (
  group_id text COLLATE "C" NOT NULL,
  log_index bigint NOT NULL,
  checksum bigint NOT NULL,
  entry text COLLATE "C" NOT NULL,
  PRIMARY KEY (group_id, log_index)
);

CREATE TABLE cp_snapshot (
  group_id text COLLATE "C" NOT NULL PRIMARY KEY,
  generation bigint NOT NULL,
  log_index bigint NOT NULL,
  parts bigint NOT NULL,
  checksum bigint NOT NULL
);

CREATE TABLE cp_snapshot_part (
  group_id text COLLATE "C" NOT NULL,
  generation bigint NOT NULL,
  part bigint NOT NULL,
  content text COLLATE "C" NOT NULL,
  PRIMARY KEY (group_id, generation, part)
);
