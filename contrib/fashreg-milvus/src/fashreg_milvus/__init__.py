"""fashreg index milvus: a gallery in Milvus Lite (embedded, one file) or in a Milvus cluster."""
