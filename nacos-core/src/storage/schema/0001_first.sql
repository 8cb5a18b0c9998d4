-- The tables of Nacos 2.4.3 (distribution/conf/derby-schema.sql), as far as this server has a use for them.
--
-- Kept: names of tables and columns, and what must be unique. Changed: ids are bound by the writer, never made
-- here; times are milliseconds since 1970; a namespace, tag type or encryption key that is absent is '' and not
-- NULL, so that unique indexes and comparisons hold. Left out: config_info_aggr (nothing publishes datums) and
-- the app_* tables (2.4 does not write them).
--
-- The content stands last in a row: SQLite reads a row's columns in order, and must walk the whole content to
-- reach what stands behind it.

CREATE TABLE config_info (
  id INTEGER NOT NULL PRIMARY KEY,
  data_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT '',
  app_name TEXT,
  md5 TEXT,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL,
  src_user TEXT,
  src_ip TEXT,
  c_desc TEXT,
  c_use TEXT,
  effect TEXT,
  type TEXT,
  encrypted_data_key TEXT NOT NULL DEFAULT '',
  c_schema TEXT,
  content TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_configinfo_datagrouptenant ON config_info (data_id, group_id, tenant_id);
-- Lists and counts of a namespace, in the order of ids.
CREATE INDEX idx_configinfo_tenant ON config_info (tenant_id);
-- The quota of a group; search by group.
CREATE INDEX idx_configinfo_group ON config_info (group_id, tenant_id);
-- The check for rows changed since a time.
CREATE INDEX idx_configinfo_gmt_modified ON config_info (gmt_modified);

CREATE TABLE config_info_beta (
  id INTEGER NOT NULL PRIMARY KEY,
  data_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT '',
  app_name TEXT,
  beta_ips TEXT,
  md5 TEXT,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL,
  src_user TEXT,
  src_ip TEXT,
  encrypted_data_key TEXT NOT NULL DEFAULT '',
  content TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_configinfobeta_datagrouptenant ON config_info_beta (data_id, group_id, tenant_id);
CREATE INDEX idx_configinfobeta_gmt_modified ON config_info_beta (gmt_modified);

CREATE TABLE config_info_tag (
  id INTEGER NOT NULL PRIMARY KEY,
  data_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT '',
  tag_id TEXT NOT NULL,
  app_name TEXT,
  md5 TEXT,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL,
  src_user TEXT,
  src_ip TEXT,
  content TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_configinfotag_datagrouptenanttag ON config_info_tag (data_id, group_id, tenant_id, tag_id);
CREATE INDEX idx_configinfotag_gmt_modified ON config_info_tag (gmt_modified);

-- The tags by which configurations are searched; id is that of the configuration.
CREATE TABLE config_tags_relation (
  nid INTEGER NOT NULL PRIMARY KEY,
  id INTEGER NOT NULL,
  tag_name TEXT NOT NULL,
  tag_type TEXT NOT NULL DEFAULT '',
  data_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX uk_configtagrelation_configidtag ON config_tags_relation (id, tag_name, tag_type);
-- The tags of one key are replaced with every publish that names some.
CREATE INDEX idx_configtagrelation_datagrouptenant ON config_tags_relation (data_id, group_id, tenant_id);

-- One row a change; id is that of the configuration, and need not be unique.
CREATE TABLE his_config_info (
  nid INTEGER NOT NULL PRIMARY KEY,
  id INTEGER NOT NULL,
  data_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT '',
  app_name TEXT,
  md5 TEXT,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL,
  src_user TEXT,
  src_ip TEXT,
  op_type TEXT,
  encrypted_data_key TEXT NOT NULL DEFAULT '',
  content TEXT NOT NULL
) STRICT;
-- The history of a key; within equal keys SQLite keeps the order of nid.
CREATE INDEX idx_hisconfiginfo_datagrouptenant ON his_config_info (data_id, group_id, tenant_id);
-- The entry before a configuration's present state.
CREATE INDEX idx_hisconfiginfo_id ON his_config_info (id);
-- Removal of what is too old.
CREATE INDEX idx_hisconfiginfo_gmt_modified ON his_config_info (gmt_modified);

CREATE TABLE group_capacity (
  id INTEGER NOT NULL PRIMARY KEY,
  group_id TEXT NOT NULL DEFAULT '',
  quota INTEGER NOT NULL DEFAULT 0,
  usage INTEGER NOT NULL DEFAULT 0,
  max_size INTEGER NOT NULL DEFAULT 0,
  max_aggr_count INTEGER NOT NULL DEFAULT 0,
  max_aggr_size INTEGER NOT NULL DEFAULT 0,
  max_history_count INTEGER NOT NULL DEFAULT 0,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_group_id ON group_capacity (group_id);

CREATE TABLE tenant_capacity (
  id INTEGER NOT NULL PRIMARY KEY,
  tenant_id TEXT NOT NULL DEFAULT '',
  quota INTEGER NOT NULL DEFAULT 0,
  usage INTEGER NOT NULL DEFAULT 0,
  max_size INTEGER NOT NULL DEFAULT 0,
  max_aggr_count INTEGER NOT NULL DEFAULT 0,
  max_aggr_size INTEGER NOT NULL DEFAULT 0,
  max_history_count INTEGER NOT NULL DEFAULT 0,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_tenant_id ON tenant_capacity (tenant_id);

-- The namespaces; kp is '1' in every row, as Nacos has it.
CREATE TABLE tenant_info (
  id INTEGER NOT NULL PRIMARY KEY,
  kp TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT '',
  tenant_name TEXT NOT NULL DEFAULT '',
  tenant_desc TEXT,
  create_source TEXT,
  gmt_create INTEGER NOT NULL,
  gmt_modified INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX uk_tenant_info_kptenantid ON tenant_info (kp, tenant_id);

CREATE TABLE users (
  username TEXT NOT NULL PRIMARY KEY,
  password TEXT NOT NULL,
  enabled INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

CREATE TABLE roles (
  username TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (username, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE permissions (
  role TEXT NOT NULL,
  resource TEXT NOT NULL,
  action TEXT NOT NULL,
  PRIMARY KEY (role, resource, action)
) STRICT, WITHOUT ROWID;
