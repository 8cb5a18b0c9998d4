//! The statements that write configurations, registered for good: a replicated log may name any of them.
//!
//! Where a statement comes with and without a comparison of MD5s, both are the same text but for its end.

use nacos_core::storage::StatementDef;

macro_rules! statements {
    ($($name:ident = $id:literal v $version:literal: $sql:expr;)*) => {
        $(pub(super) static $name: StatementDef = StatementDef { id: $id, version: $version, sql: $sql };)*

        /// Every statement of this module, for the registry of replicated writes.
        pub static STATEMENTS: &[&StatementDef] = &[$(&$name),*];
    };
}

macro_rules! history_columns {
    () => {
        "INSERT INTO his_config_info (nid, id, data_id, group_id, tenant_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip, op_type, encrypted_data_key) "
    };
}

// A number greater than all before it, whatever order the callers drew theirs in: rows of the history are numbered in
// the order of their commits. It depends on the table alone, so replicas agree.
macro_rules! history_number {
    () => {
        "(SELECT CASE WHEN ?1 > COALESCE(MAX(nid), 0) THEN ?1 ELSE MAX(nid) + 1 END FROM his_config_info)"
    };
}

macro_rules! insert {
    () => {
        "INSERT INTO config_info (id, data_id, group_id, tenant_id, app_name, content, md5, gmt_create, \
         gmt_modified, src_user, src_ip, c_desc, c_use, effect, type, c_schema, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, COALESCE(?5, ''), ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (data_id, group_id, tenant_id) "
    };
}

macro_rules! upsert {
    () => {
        concat!(
            insert!(),
            "DO UPDATE SET app_name = COALESCE(?5, config_info.app_name), content = ?6, md5 = ?7, gmt_modified = ?8, \
             src_user = ?9, src_ip = ?10, c_desc = ?11, c_use = ?12, effect = ?13, type = ?14, c_schema = ?15, \
             encrypted_data_key = ?16"
        )
    };
}

macro_rules! beta_upsert {
    () => {
        "INSERT INTO config_info_beta (id, data_id, group_id, tenant_id, app_name, content, beta_ips, md5, \
         gmt_create, gmt_modified, src_user, src_ip, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12) \
         ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET app_name = ?5, content = ?6, beta_ips = ?7, \
         md5 = ?8, gmt_modified = ?9, src_user = ?10, src_ip = ?11, encrypted_data_key = ?12"
    };
}

macro_rules! tag_upsert {
    () => {
        "INSERT INTO config_info_tag (id, data_id, group_id, tenant_id, tag_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11) \
         ON CONFLICT (data_id, group_id, tenant_id, tag_id) DO UPDATE SET app_name = ?6, content = ?7, md5 = ?8, \
         gmt_modified = ?9, src_user = ?10, src_ip = ?11"
    };
}

statements! {
    // The content before the change, if there is one.
    HISTORY_BEFORE = "config.history_before" v 1: concat!(
        history_columns!(),
        "SELECT ",
        history_number!(),
        ", id, data_id, group_id, tenant_id, app_name, content, md5, \
         ?2, ?2, ?3, ?4, ?5, encrypted_data_key FROM config_info \
         WHERE data_id = ?6 AND group_id = ?7 AND tenant_id = ?8"
    );
    HISTORY_FIRST = "config.history_first" v 1: concat!(
        history_columns!(),
        "SELECT ",
        history_number!(),
        ", ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, 'I', ?12 \
         WHERE NOT EXISTS (SELECT 1 FROM config_info WHERE data_id = ?3 AND group_id = ?4 AND tenant_id = ?5)"
    );
    UPSERT = "config.upsert" v 1: upsert!();
    UPSERT_CAS = "config.upsert_cas" v 1: concat!(
        upsert!(),
        " WHERE config_info.md5 = ?17 OR config_info.md5 IS NULL OR config_info.md5 = ''"
    );
    INSERT_IF_ABSENT = "config.insert_if_absent" v 1: concat!(insert!(), "DO NOTHING");
    TAGS_CLEAR = "config.tags_clear" v 1:
        "DELETE FROM config_tags_relation WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    TAGS_ADD = "config.tags_add" v 1:
        "INSERT INTO config_tags_relation (nid, id, tag_name, tag_type, data_id, group_id, tenant_id) \
         SELECT ?1, id, ?2, '', data_id, group_id, tenant_id FROM config_info \
         WHERE data_id = ?3 AND group_id = ?4 AND tenant_id = ?5";
    DELETE = "config.delete" v 1:
        "DELETE FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    BETA_UPSERT = "config.beta_upsert" v 1: beta_upsert!();
    BETA_UPSERT_CAS = "config.beta_upsert_cas" v 1: concat!(
        beta_upsert!(),
        " WHERE config_info_beta.md5 = ?13 OR config_info_beta.md5 IS NULL OR config_info_beta.md5 = ''"
    );
    BETA_DELETE = "config.beta_delete" v 1:
        "DELETE FROM config_info_beta WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    TAG_UPSERT = "config.tag_upsert" v 1: tag_upsert!();
    TAG_UPSERT_CAS = "config.tag_upsert_cas" v 1: concat!(
        tag_upsert!(),
        " WHERE config_info_tag.md5 = ?12 OR config_info_tag.md5 IS NULL OR config_info_tag.md5 = ''"
    );
    TAG_DELETE = "config.tag_delete" v 1:
        "DELETE FROM config_info_tag WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3 AND tag_id = ?4";
    HISTORY_CLEAN = "config.history_clean" v 1:
        "DELETE FROM his_config_info WHERE nid IN \
         (SELECT nid FROM his_config_info WHERE gmt_modified < ?1 ORDER BY gmt_modified, nid LIMIT ?2)";
}
