-- The tables of 0001_first.sql for Postgres, with the types that Nacos' plug-in for it uses
-- (nacos-group/nacos-plugin, nacos-pg.sql), but for two: texts have no limit of length, and compare by their bytes.
-- times are timestamps in UTC; tenant_info has milliseconds, as it has there.

CREATE TABLE config_info (
  id bigint NOT NULL PRIMARY KEY,
  data_id text COLLATE "C" NOT NULL,
  group_id text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  app_name text COLLATE "C",
  md5 text COLLATE "C",
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL,
  src_user text COLLATE "C",
  src_ip text COLLATE "C",
  c_desc text COLLATE "C",
  c_use text COLLATE "C",
  effect text COLLATE "C",
  type text COLLATE "C",
  encrypted_data_key text COLLATE "C" NOT NULL DEFAULT '',
  c_schema text COLLATE "C",
  content text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX uk_configinfo_datagrouptenant ON config_info (data_id, group_id, tenant_id);
-- Lists and counts of a namespace, in the order of ids.
CREATE INDEX idx_configinfo_tenant ON config_info (tenant_id);
-- The quota of a group; search by group.
CREATE INDEX idx_configinfo_group ON config_info (group_id, tenant_id);
-- The check for rows changed since a time.
CREATE INDEX idx_configinfo_gmt_modified ON config_info (gmt_modified);

CREATE TABLE config_info_beta (
  id bigint NOT NULL PRIMARY KEY,
  data_id text COLLATE "C" NOT NULL,
  group_id text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  app_name text COLLATE "C",
  beta_ips text COLLATE "C",
  md5 text COLLATE "C",
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL,
  src_user text COLLATE "C",
  src_ip text COLLATE "C",
  encrypted_data_key text COLLATE "C" NOT NULL DEFAULT '',
  content text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX uk_configinfobeta_datagrouptenant ON config_info_beta (data_id, group_id, tenant_id);
CREATE INDEX idx_configinfobeta_gmt_modified ON config_info_beta (gmt_modified);

CREATE TABLE config_info_tag (
  id bigint NOT NULL PRIMARY KEY,
  data_id text COLLATE "C" NOT NULL,
  group_id text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  tag_id text COLLATE "C" NOT NULL,
  app_name text COLLATE "C",
  md5 text COLLATE "C",
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL,
  src_user text COLLATE "C",
  src_ip text COLLATE "C",
  content text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX uk_configinfotag_datagrouptenanttag ON config_info_tag (data_id, group_id, tenant_id, tag_id);
CREATE INDEX idx_configinfotag_gmt_modified ON config_info_tag (gmt_modified);

-- The tags by which configurations are searched; id is that of the configuration.
CREATE TABLE config_tags_relation (
  nid bigint NOT NULL PRIMARY KEY,
  id bigint NOT NULL,
  tag_name text COLLATE "C" NOT NULL,
  tag_type text COLLATE "C" NOT NULL DEFAULT '',
  data_id text COLLATE "C" NOT NULL,
  group_id text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX uk_configtagrelation_configidtag ON config_tags_relation (id, tag_name, tag_type);
-- The tags of one key are replaced with every publish that names some.
CREATE INDEX idx_configtagrelation_datagrouptenant ON config_tags_relation (data_id, group_id, tenant_id);

-- One row a change; id is that of the configuration, and need not be unique.
CREATE TABLE his_config_info (
  nid bigint NOT NULL PRIMARY KEY,
  id bigint NOT NULL,
  data_id text COLLATE "C" NOT NULL,
  group_id text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  app_name text COLLATE "C",
  md5 text COLLATE "C",
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL,
  src_user text COLLATE "C",
  src_ip text COLLATE "C",
  op_type text COLLATE "C",
  encrypted_data_key text COLLATE "C" NOT NULL DEFAULT '',
  content text COLLATE "C" NOT NULL
);
-- The history of a key.
CREATE INDEX idx_hisconfiginfo_datagrouptenant ON his_config_info (data_id, group_id, tenant_id, nid);
-- The entry before a configuration's present state.
CREATE INDEX idx_hisconfiginfo_id ON his_config_info (id);
-- Removal of what is too old.
CREATE INDEX idx_hisconfiginfo_gmt_modified ON his_config_info (gmt_modified);

CREATE TABLE group_capacity (
  id bigint NOT NULL PRIMARY KEY,
  group_id text COLLATE "C" NOT NULL DEFAULT '',
  quota bigint NOT NULL DEFAULT 0,
  usage bigint NOT NULL DEFAULT 0,
  max_size bigint NOT NULL DEFAULT 0,
  max_aggr_count bigint NOT NULL DEFAULT 0,
  max_aggr_size bigint NOT NULL DEFAULT 0,
  max_history_count bigint NOT NULL DEFAULT 0,
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX uk_group_id ON group_capacity (group_id);

CREATE TABLE tenant_capacity (
  id bigint NOT NULL PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  quota bigint NOT NULL DEFAULT 0,
  usage bigint NOT NULL DEFAULT 0,
  max_size bigint NOT NULL DEFAULT 0,
  max_aggr_count bigint NOT NULL DEFAULT 0,
  max_aggr_size bigint NOT NULL DEFAULT 0,
  max_history_count bigint NOT NULL DEFAULT 0,
  gmt_create timestamp(6) NOT NULL,
  gmt_modified timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX uk_tenant_id ON tenant_capacity (tenant_id);

-- The namespaces; kp is '1' in every row, as Nacos has it.
CREATE TABLE tenant_info (
  id bigint NOT NULL PRIMARY KEY,
  kp text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  tenant_name text COLLATE "C" NOT NULL DEFAULT '',
  tenant_desc text COLLATE "C",
  create_source text COLLATE "C",
  gmt_create bigint NOT NULL,
  gmt_modified bigint NOT NULL
);
CREATE UNIQUE INDEX uk_tenant_info_kptenantid ON tenant_info (kp, tenant_id);

CREATE TABLE users (
  username text COLLATE "C" NOT NULL PRIMARY KEY,
  password text COLLATE "C" NOT NULL,
  enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE roles (
  username text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  PRIMARY KEY (username, role)
);

CREATE TABLE permissions (
  role text COLLATE "C" NOT NULL,
  resource text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  PRIMARY KEY (role, resource, action)
);
