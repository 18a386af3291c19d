/* SQLite itself, taken in as a system header: its warnings are not ours to act on. build.sh says where it comes from. */
#include <sqlite3.c>
