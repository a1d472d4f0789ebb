import java.io.*;
import java.security.MessageDigest;
import java.util.zip.*;

/** Reads zips as Android does, from the front, and prints every entry; then what follows the last byte of each. */
public class ReadZip {
    public static void main(String[] paths) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8");
        for (String path; (path = in.readLine()) != null; ) {
            try (ZipInputStream zip = new ZipInputStream(new BufferedInputStream(new FileInputStream(path)))) {
                StringBuilder list = new StringBuilder();
                byte[] buffer = new byte[65536];
                for (ZipEntry e; (e = zip.getNextEntry()) != null; ) {
                    MessageDigest sha = MessageDigest.getInstance("SHA-256");
                    long size = 0;
                    for (int n; (n = zip.read(buffer)) > 0; size += n) sha.update(buffer, 0, n);
                    if (e.isDirectory()) continue;
                    StringBuilder hex = new StringBuilder();
                    for (byte b : sha.digest()) hex.append(String.format("%02x", b));
                    list.append(hex).append(' ').append(size).append(' ').append(e.getName()).append('\n');
                }
                out.print(list);
                out.println("ok");
            } catch (Exception e) {
                out.println("refused " + e);
            }
            out.flush();
        }
    }
}
