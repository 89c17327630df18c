-- Which server, database and timeline this is. Another one than before: the database was restored, or another server
-- took over, and the log may know more than it does.
ALTER TABLE write.installation ADD COLUMN place text;
