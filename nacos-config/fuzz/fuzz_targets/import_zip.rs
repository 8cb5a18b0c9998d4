#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nacos_config_fuzz::import_zip::run(data));
